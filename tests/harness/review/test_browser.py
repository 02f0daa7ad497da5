"""The review page in a real browser, on a desk and on a phone: keys, saving, contrast and names for everything.

Skipped where Debian's chromium and chromium-driver or the Python package selenium are missing. The rules of axe-core
are fetched once by npm, into the cache; without npm or a network only that test is skipped.
"""

import os
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from grader.assets.cache import locate_cache
from grader.batch.decisions import read_decisions
from grader.paths import ROOT
from grader.review.app import build_app
from grader.review.server import open_socket
from tests.harness import needs
from tests.harness.reporting import hostile

from .classes import ADA, BO, CELLS, COUNT, CY, FORWARD, cell, make_class, make_correction_round, stream

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.common.exceptions import NoAlertPresentException, StaleElementReferenceException  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402

from tests.harness.reporting.test_browser import CHROMIUM, DRIVER, FLAGS  # noqa: E402  needs selenium too

pytestmark = needs.programs("chromium", "chromedriver")

AXE = "axe-core-4.14.1"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RUN_AXE = """
const done = arguments[arguments.length - 1];
axe.run(document, {runOnly: arguments[0]}).then(found => done(
    found.violations.map(v => `${v.id}: ${v.nodes.map(n => n.html.slice(0, 120)).join(' | ')}`)));
"""
HOSTILE = tuple(cell(text, stream(text)) for text in hostile.TEXTS.values())
PROSE = tuple(cell(text, kind="markdown") for text in hostile.TEXTS.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_class(tmp_path_factory.mktemp("class"), (*CELLS, *HOSTILE, *PROSE))
    make_correction_round(made)
    return made


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with open_socket(0) as found:
        config = uvicorn.Config(build_app(folder, "token", "ada"), log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [found]})
        thread.start()
        yield f"http://127.0.0.1:{found.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory, address: str) -> Iterator[Any]:
    yield from open_browser(tmp_path_factory.mktemp("chromium"), address, {})


@pytest.fixture(scope="module")
def asking_driver(tmp_path_factory: pytest.TempPathFactory, address: str) -> Iterator[Any]:
    """A browser that asks before it leaves a page, as one does that nobody drives."""
    asks = {"webSocketUrl": True, "unhandledPromptBehavior": {"beforeUnload": "ignore", "default": "ignore"}}
    yield from open_browser(tmp_path_factory.mktemp("chromium"), address, asks)


def open_browser(folder: Path, address: str, capabilities: dict[str, Any]) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS, f"user-data-dir={folder}"]:
        options.add_argument(f"--{flag}")
    for name, value in capabilities.items():
        options.set_capability(name, value)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    browser.get(f"{address}/?token=token")
    yield browser
    browser.quit()


@pytest.fixture(scope="session")
def axe() -> str:
    cache = locate_cache(ROOT, os.environ)
    archive = cache / f"{AXE}.tgz"
    if not archive.is_file():
        needs.require_programs("npm")
        cache.mkdir(parents=True, exist_ok=True)
        name = AXE.replace("core-", "core@")
        fetched = subprocess.run(["npm", "pack", name], cwd=cache, capture_output=True, text=True, check=False)
        if fetched.returncode:
            pytest.skip("needs a network, to fetch axe-core by npm")
    with tarfile.open(archive) as found:
        file = found.extractfile("package/axe.min.js")
        assert file is not None
        return file.read().decode()


def show(driver: Any, address: str, width: int, scheme: str = "light") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.get(address)


def press(driver: Any, *keys: str) -> None:
    for key in keys:
        driver.switch_to.active_element.send_keys(key)


def wait(condition: Any) -> None:
    for _ in range(200):
        with suppress(StaleElementReferenceException, NoAlertPresentException):  # replaced or opened at this moment
            if condition():
                return
        time.sleep(0.05)
    raise AssertionError("it did not happen within ten seconds")


def open_forms(driver: Any) -> None:
    driver.execute_script("document.querySelectorAll('details').forEach(element => element.open = true)")


def read_values(driver: Any) -> dict[str, str]:
    """Read what stands in the fields of the panel, by their ids; empty ones are left out."""
    fields = "#panel input:not([type=hidden]), #panel textarea"
    read = "return [...document.querySelectorAll(arguments[0])].map(field => [field.id, field.value])"
    return {name: value for name, value in driver.execute_script(read, fields) if value}


PAGES = [
    pytest.param("/", id="list"),
    pytest.param(f"/student/{ADA.code}", id="student"),
    pytest.param(f"/student/{CY.code}", id="refused"),
    pytest.param("/student/nobody", id="nothing here"),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280], ids=str)
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing(driver: Any, address: str, axe: str, path: str, width: int, scheme: str) -> None:
    show(driver, f"{address}{path}", width, scheme)
    open_forms(driver)
    driver.execute_script(axe)
    assert driver.execute_async_script(RUN_AXE, RULES) == []


@pytest.mark.parametrize("width", [320, 390, 1280], ids=str)
@pytest.mark.parametrize("path", PAGES)
def test_nothing_of_a_student_runs_and_no_page_scrolls_sideways(
    driver: Any, address: str, path: str, width: int
) -> None:
    show(driver, f"{address}{path}", width)
    open_forms(driver)
    assert driver.execute_script("return window.pwned === undefined")
    page_px = driver.execute_script("return document.documentElement.clientWidth")
    assert page_px <= width
    assert driver.execute_script("return document.documentElement.scrollWidth") == page_px
    log = [line["message"] for line in driver.get_log("browser") if "/student/nobody" not in line["message"]]
    assert log == []  # neither a violation of the policy nor an error of the script
    names = driver.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    own = {f"{address}/{name}" for name in ("review.css", "review.js", "htmx.js")}
    assert {name for name in names if not name.startswith("data:image/png")} == own


def test_from_student_to_student_by_keys(driver: Any, address: str) -> None:
    show(driver, f"{address}/", 1280)
    press(driver, "o")
    wait(lambda: driver.current_url.endswith(ADA.code))
    press(driver, "j")
    wait(lambda: driver.current_url.endswith(BO.code))
    press(driver, "k")
    wait(lambda: driver.current_url.endswith(ADA.code))
    press(driver, "p")
    assert driver.switch_to.active_element.get_attribute("id") == f"check-{FORWARD}"
    driver.find_element("id", "keys-on").click()
    press(driver, "j")
    assert driver.current_url.endswith(ADA.code)
    driver.find_element("id", "keys-on").click()


def test_the_filter_answers_while_one_types(driver: Any, address: str) -> None:
    show(driver, f"{address}/", 1280)
    press(driver, "/")
    driver.switch_to.active_element.send_keys("bo")
    wait(lambda: len(driver.find_elements("css selector", "#rows tbody tr")) == 1)
    assert "find=bo" in driver.current_url


def test_the_filter_stays_when_names_are_hidden(driver: Any, address: str) -> None:
    show(driver, f"{address}/", 1280)
    Select(driver.find_element("name", "state")).select_by_visible_text("refused")
    wait(lambda: len(driver.find_elements("css selector", "#rows tbody tr")) == 1)
    for expected in ("Student", CY.name):
        press(driver, Keys.ESCAPE, "b")
        wait(lambda text=expected: driver.find_element("css selector", "#rows tbody th").text.startswith(text))
        assert driver.current_url.endswith("/?state=refused")


def test_points_are_given_by_keys_and_the_notebook_stays_where_it_is(driver: Any, address: str, folder: Path) -> None:
    show(driver, f"{address}/student/{BO.code}", 1280)
    driver.execute_script("window.stays = 1")
    press(driver, "e")
    field = driver.switch_to.active_element
    assert field.get_attribute("name") == "points"
    field.send_keys("99")
    driver.find_element("css selector", "details[open] button[value=points]").click()
    wait(lambda: "Write points from 0 to 8" in driver.find_element("id", "panel").text)
    assert driver.find_element("css selector", "details.decide[open] input[name=points]").get_attribute("value") == "99"
    form = driver.find_element("css selector", "details.decide[open] form")
    form.find_element("name", "points").clear()
    form.find_element("name", "points").send_keys("5")
    form.find_element("name", "words").send_keys("too short")
    form.find_element("css selector", "button[value=points]").click()
    wait(lambda: "changed by a person" in driver.find_element("id", "head").text)
    assert driver.find_element("css selector", ".total b").text == "13"
    wait(lambda: driver.switch_to.active_element.get_attribute("id").startswith("check-"))  # who goes by keys stays
    assert "not yet in gradebook" in driver.find_element("id", "outbox").text
    assert driver.execute_script("return window.stays") == 1  # the page was not loaded again
    assert read_decisions(folder)[-1].matter.model_dump()["reason"] == "too short"


def test_enter_in_the_total_saves_the_total_or_says_what_is_missing(driver: Any, address: str, folder: Path) -> None:
    show(driver, f"{address}/student/{BO.code}", 1280)
    open_forms(driver)
    driver.find_element("id", "total-points-").send_keys("9", Keys.ENTER)
    wait(lambda: "Write the reason" in driver.find_element("id", "panel").text)
    assert driver.find_element("id", "total-points-").get_attribute("value") == "9"
    driver.find_element("id", "total-words-").send_keys("agreed")
    driver.find_element("id", "total-points-").send_keys(Keys.ENTER)
    wait(lambda: driver.find_element("css selector", ".total b").text == "9")
    assert read_decisions(folder)[-1].matter.model_dump()["reason"] == "agreed"


def test_a_save_keeps_what_stands_in_other_fields(driver: Any, address: str) -> None:
    show(driver, f"{address}/student/{ADA.code}", 1280)
    open_forms(driver)
    typed = {
        "comment-words-": "to the student\nin two lines",
        f"points-words-{COUNT}": "for later",
        "total-points-": "7",
    }
    for name, text in typed.items():
        driver.find_element("id", name).send_keys(text)
    driver.find_element("id", f"points-words-{FORWARD}").send_keys("my claim")
    driver.find_element("css selector", f"[id='check-{FORWARD}'] button[value=contest]").click()
    wait(lambda: driver.find_elements("css selector", ".appeal"))
    assert read_values(driver) == typed  # and the claim is saved
    open_forms(driver)
    driver.find_element("id", f"points-points-{FORWARD}").send_keys("99", Keys.ENTER)
    wait(lambda: "Write points from 0" in driver.find_element("id", "panel").text)
    assert read_values(driver) == {**typed, f"points-points-{FORWARD}": "99"}
    assert driver.switch_to.active_element.get_attribute("id") == f"points-points-{FORWARD}"
    driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    press(driver, "r")
    wait(lambda: driver.find_elements("css selector", ".mark-reviewed .verdict"))
    assert read_values(driver) == {**typed, f"points-points-{FORWARD}": "99"}
    driver.execute_script("document.getElementById('comment-words-').form.querySelector('button').click()")
    wait(lambda: "comment-words-" not in read_values(driver))
    assert "in two lines" in driver.find_element("id", "panel").text


LEAVING = [pytest.param("j", id="next"), pytest.param("u", id="all students"), pytest.param("b", id="hide names")]


@pytest.mark.parametrize("key", LEAVING)
def test_who_leaves_text_behind_is_asked(asking_driver: Any, address: str, key: str) -> None:
    driver = asking_driver
    show(driver, f"{address}/student/{ADA.code}", 1280)
    press(driver, "m", "not saved", Keys.ESCAPE, key)
    wait(lambda: driver.switch_to.alert)
    driver.switch_to.alert.dismiss()
    assert driver.current_url.endswith(ADA.code)
    assert read_values(driver) == {"comment-words-": "not saved"}
    driver.find_element("id", "comment-words-").clear()
    press(driver, Keys.ESCAPE, "j")
    wait(lambda: driver.current_url.endswith(BO.code))
