"""The dashboard in a real browser: sorted and filtered by keyboard, readable on a phone."""

from collections.abc import Callable
from typing import Any

import pytest

from grader.grades.grade import AdjustmentKind, Grade

from . import hostile, test_browser
from .pages import DASHBOARD as PAGE
from .pages import GRADES, build_hostile_pages
from .test_browser import Site, open_page

keys = pytest.importorskip("selenium.webdriver.common.keys", reason="selenium is not installed").Keys
chains = pytest.importorskip("selenium.webdriver.common.action_chains", reason="selenium is not installed")
pytestmark = test_browser.pytestmark
driver, site = test_browser.driver, test_browser.site  # the fixtures

NAMES = "return [...document.querySelectorAll('#table tbody tr:not([hidden]) th a')].map(e => e.textContent.trim())"
POINTS = "return [...document.querySelectorAll('#table tbody td:nth-child(2)')].map(e => e.dataset.value)"


def press(driver: Any, *pressed: str) -> None:
    chains.ActionChains(driver).send_keys(*pressed).perform()


def focus_heading(driver: Any, place: int) -> Any:
    """From the search field on by keyboard to the button of a column of the students' table, counted from 0."""
    driver.find_element("id", "find").click()
    press(driver, *[keys.TAB] * (place + 2))  # the select lies between
    return driver.switch_to.active_element


def test_sorting_and_filtering_hostile_text_runs_nothing(driver: Any, site: Site) -> None:
    open_page(driver, site, build_hostile_pages("\n".join(hostile.TEXTS.values()))["dashboard"])
    for button in driver.find_elements("css selector", "#table th button"):
        driver.execute_script("arguments[0].click(); arguments[0].click()", button)
    driver.find_element("id", "find").send_keys("<script>")
    assert driver.execute_script("return window.pwned === undefined && document.scripts.length === 1")
    assert site.requests == ["/page.html"]
    assert driver.get_log("browser") == []


def test_sorting_by_keyboard(driver: Any, site: Site) -> None:
    open_page(driver, site, PAGE)
    button = focus_heading(driver, 1)
    assert button.text.startswith("Points")
    heading = button.find_element("xpath", "..")
    assert heading.get_attribute("aria-sort") == "none"
    press(driver, keys.ENTER)
    ascending = driver.execute_script(POINTS)
    assert heading.get_attribute("aria-sort") == "ascending"
    press(driver, keys.SPACE)
    descending = driver.execute_script(POINTS)
    assert heading.get_attribute("aria-sort") == "descending"
    known = sorted(float(value) for value in ascending if value)
    assert [float(value) for value in ascending[: len(known)]] == known
    assert [float(value) for value in descending[: len(known)]] == known[::-1]
    assert set(ascending[len(known) :]) == set(descending[len(known) :]) == {""}  # what is not known comes last
    assert driver.switch_to.active_element == button
    assert len(driver.find_elements("css selector", "#table th[aria-sort=descending]")) == 1


def test_names_are_sorted_as_people_do(driver: Any, site: Site) -> None:
    open_page(driver, site, PAGE)
    focus_heading(driver, 0)
    press(driver, keys.ENTER)
    names = driver.execute_script(NAMES)
    assert len(names) == len(GRADES)
    assert [name for name in names if name.startswith("Berg")] == sorted(n for n in names if n.startswith("Berg"))
    assert names.index("Çelebi, Siri 46") < names.index("Dahl, Pia 5")


def test_focus_can_be_seen(driver: Any, site: Site) -> None:
    open_page(driver, site, PAGE)
    outline = "const s = getComputedStyle(document.activeElement); return s.outlineStyle + s.outlineWidth"
    driver.find_element("id", "find").click()
    for expected in ("INPUT", "SELECT", "BUTTON"):
        assert driver.execute_script("return document.activeElement.tagName") == expected
        assert driver.execute_script(outline) == "solid2px"
        press(driver, keys.TAB)


def is_late(grade: Grade) -> bool:
    return any(change.kind is AdjustmentKind.LATE for change in grade.adjustments)


FILTERS: dict[str, tuple[str, str, Callable[[Grade], bool]]] = {
    "part of a name, in any case": ("ELIAS", "", lambda g: "Elias" in g.student.name),
    "words in any order": ("fatima berg", "", lambda g: g.student.name.startswith("Berg, Fatima")),
    "standing": ("", "ungraded", lambda g: g.standing == "ungraded"),
    "both": ("late", "graded", lambda g: g.standing == "graded" and is_late(g)),
    "nothing": ("nobody is called so", "", lambda g: False),
}


@pytest.mark.parametrize(("typed", "standing", "fits"), FILTERS.values(), ids=FILTERS)
def test_filtering(driver: Any, site: Site, typed: str, standing: str, fits: Callable[[Grade], bool]) -> None:
    open_page(driver, site, PAGE)
    driver.find_element("id", "find").click()
    press(driver, typed, keys.TAB, standing)
    expected = sorted(grade.student.name for grade in GRADES if fits(grade))
    assert sorted(driver.execute_script(NAMES)) == expected
    shown = driver.find_element("id", "shown")
    assert (shown.text, shown.get_attribute("role")) == (f"{len(expected)} of {len(GRADES)} students", "status")


def test_without_a_script_everything_is_there(driver: Any, site: Site) -> None:
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_page(driver, site, PAGE)
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert not driver.find_element("id", "controls").is_displayed()
    assert driver.find_elements("tag name", "button") == []
    assert len(driver.find_elements("css selector", "#table tbody tr")) == len(GRADES)


RIGHTMOST = (
    "return Math.max(...[...document.querySelectorAll('main *')].filter(e => e.getClientRects().length && "
    "!e.closest('.unseen, svg')).map(e => e.getBoundingClientRect().right))"
)


@pytest.mark.parametrize("width", [320, 390, 600, 768, 840, 900, 980, 1280], ids=str)
def test_nothing_of_an_honest_page_is_cut_and_columns_can_be_sorted(driver: Any, site: Site, width: int) -> None:
    """`overflow: clip` would hide what sticks out; so the boxes themselves are measured."""
    open_page(driver, site, PAGE, width)
    assert driver.execute_script(RIGHTMOST) <= width
    button = driver.find_element("css selector", "#table th:nth-child(2) button")
    assert button.is_displayed()
    driver.execute_script("arguments[0].click()", button)
    values = [float(value) for value in driver.execute_script(POINTS) if value]
    assert values == sorted(values)


MANY_LINKS = """
const row = document.querySelector('.problem .rows li:has(.row-title):has(.advice):has(.links)')
const links = row.querySelector('.links'), link = links.querySelector('a')
for (let i = 0; i < 30; i++) links.append(' ', link.cloneNode(true))
return row.querySelector('.advice').clientWidth
"""


@pytest.mark.parametrize("width", [390, 900, 1280], ids=str)
def test_many_links_leave_room_for_what_is_said(driver: Any, site: Site, width: int) -> None:
    open_page(driver, site, PAGE, width)
    assert driver.execute_script(MANY_LINKS) >= 200
    assert driver.execute_script(RIGHTMOST) <= width
