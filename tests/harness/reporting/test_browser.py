"""The pages in a real browser: nothing runs, nothing is fetched, nothing sticks out of a phone's screen.

Skipped where Debian's chromium and chromium-driver or the Python package selenium are missing.
"""

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from grader.model import Result, StaffDetails
from grader.reporting.feedback import render_feedback
from grader.reporting.staff import render_staff
from tests.harness import needs

from . import hostile
from .examples import details, full_marks, hostile_copies, middle, untouched_template

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = needs.programs("chromium", "chromedriver")

_FLAGS = (
    "headless",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "disable-dev-shm-usage",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "no-first-run",
)
_HOSTILE = "\n".join(hostile.TEXTS.values())
_RIGHTMOST_POINTS = (
    "return Math.max(...[...document.querySelectorAll('.points')].map(e => e.getBoundingClientRect().right))"
)
_BEACONS = """
<script>window.pwned = 1</script><script src="/beacon"></script><img src="/beacon" onerror="window.pwned = 1">
<svg onload="window.pwned = 1"><image href="/beacon"/></svg><iframe src="/beacon"></iframe>
<style>@import "/beacon"; body { background: url(/beacon); max-width: 10px; }</style>
<link rel="stylesheet" href="/beacon">
<p style="color: red" onclick="window.pwned = 1">clicked</p>
"""


class Site:
    """A loopback server that holds pages and remembers what was asked for."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.build_requests: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.build_requests.append(self.path)
                page = site.pages.get(self.path)
                self.send_response(404 if page is None else 200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write((page or "").encode("utf-8"))

            def log_message(self, format: str, *args: object) -> None:
                """Stay silent: `requests` is the log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*_FLAGS, f"user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    yield server
    server.close()


def _open(driver: Any, site: Site, html: str, width: int = 1280) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    site.pages["/page.html"] = html
    driver.get(f"{site.address}/page.html")


def _hostile() -> tuple[Result, StaffDetails]:
    result = Result.model_validate(hostile_copies(middle().model_dump(by_alias=True), _HOSTILE))
    return result, StaffDetails.model_validate(hostile_copies(details().model_dump(), _HOSTILE))


PAGES = [
    pytest.param(render_feedback(full_marks()), id="feedback_full_marks"),
    pytest.param(render_feedback(untouched_template()), id="feedback_untouched_template"),
    pytest.param(render_feedback(middle()), id="feedback_middle"),
    pytest.param(render_staff(middle(), details()), id="staff_middle"),
    pytest.param(render_feedback(_hostile()[0]), id="feedback_hostile"),
    pytest.param(render_staff(*_hostile()), id="staff_hostile"),
]


@pytest.mark.parametrize("html", PAGES)
def test_nothing_runs_and_nothing_is_fetched(driver: Any, site: Site, html: str) -> None:
    _open(driver, site, html)
    assert driver.execute_script("return window.pwned === undefined")
    assert driver.execute_script("return document.scripts.length") == 0
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert driver.execute_script("return getComputedStyle(document.body).maxWidth") == "960px"  # the hash fits
    assert site.build_requests == ["/page.html"]
    assert driver.get_log("browser") == []  # a violation of the policy would be reported here


@pytest.mark.parametrize("width", [360, 768, 1280], ids=str)
@pytest.mark.parametrize("html", PAGES)
def test_no_page_scrolls_sideways_or_pushes_points_out(driver: Any, site: Site, html: str, width: int) -> None:
    _open(driver, site, html, width)
    driver.execute_script("document.querySelectorAll('details').forEach(element => element.open = true)")
    page_px = driver.execute_script("return document.documentElement.clientWidth")
    assert page_px <= width  # a phone's browser would lay out a wider page and shrink it
    assert driver.execute_script("return document.documentElement.scrollWidth") == page_px
    assert driver.execute_script(_RIGHTMOST_POINTS) <= page_px


def test_the_policy_stops_even_markup_that_slipped_through(driver: Any, site: Site) -> None:
    _open(driver, site, render_feedback(middle()).replace("</body>", f"{_BEACONS}</body>"))
    driver.find_element("xpath", "//p[text()='clicked']").click()
    assert driver.execute_script("return window.pwned === undefined")
    assert driver.execute_script("return getComputedStyle(document.body).maxWidth") == "960px"
    assert site.build_requests == ["/page.html"]
    assert len(driver.get_log("browser")) >= 5  # each attempt is reported as a violation


def test_the_beacons_work_without_the_policy(driver: Any, site: Site) -> None:
    """Shows that the test above would notice."""
    _open(driver, site, f"<!doctype html><body>{_BEACONS}</body>")
    assert driver.execute_script("return window.pwned") == 1
    assert "/beacon" in site.build_requests


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(driver: Any, site: Site, scheme: str) -> None:
    """Every text of the page against the nearest background below it: at least 4.5 to 1 (WCAG 2.2, AA)."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    _open(driver, site, render_staff(middle().model_copy(update={"sandbox": "none"}), details()))
    ratios = driver.execute_script(Path(__file__).with_name("contrast.js").read_text(encoding="utf-8"))
    assert len(ratios) > 100
    assert [(text, ratio) for text, ratio in ratios if ratio < 4.5] == []
