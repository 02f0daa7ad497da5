"""The pages in a real browser: nothing runs, nothing is fetched, nothing sticks out of a phone's screen.

Skipped where Debian's chromium and chromium-driver or the Python package selenium are missing.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.harness import needs

from . import hostile
from .pages import PAGES, build_hostile_pages

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = needs.programs("chromium", "chromedriver")

FLAGS = (
    *("headless", "no-sandbox", "no-first-run", "disable-gpu", "disable-quic", "disable-dev-shm-usage"),
    *("disable-background-networking", "disable-component-update", "disable-sync"),
)
RIGHTMOST_POINTS = (
    "return Math.max(0, ...[...document.querySelectorAll('.points')].map(e => e.getBoundingClientRect().right))"
)
BEACONS = """
<script>window.pwned = 1</script><script src="/beacon"></script><img src="/beacon" onerror="window.pwned = 1">
<svg onload="window.pwned = 1"><image href="/beacon"/></svg><iframe src="/beacon"></iframe>
<style>@import "/beacon"; body { background: url(/beacon); max-width: 10px; }</style>
<link rel="stylesheet" href="/beacon">
<p style="color: red" onclick="window.pwned = 1">clicked</p>
"""


class Site:
    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.requests: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append(self.path)
                page = site.pages.get(self.path)
                self.send_response(404 if page is None else 200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write((page or "").encode("utf-8"))

            def log_message(self, format: str, *args: object) -> None:
                """Stay silent: `requests` is the log."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    with made.server, ThreadPoolExecutor(1) as pool:
        pool.submit(made.server.serve_forever)
        yield made
        made.server.shutdown()


def open_page(driver: Any, site: Site, html: str, width: int = 1280) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    site.pages["/page.html"] = html
    driver.get(f"{site.address}/page.html")


ALL = PAGES | {f"hostile {kind}": html for kind, html in build_hostile_pages("\n".join(hostile.TEXTS.values())).items()}
every_page = pytest.mark.parametrize("name", ALL)


def is_styled(driver: Any, name: str) -> bool:
    """The hash in the policy fits the style sheet."""
    width = driver.execute_script("return getComputedStyle(document.body).maxWidth")
    return bool(width == ("1152px" if name.endswith(("dashboard", "similar code")) else "960px"))


@every_page
def test_only_the_script_of_the_dashboard_runs_and_nothing_is_fetched(driver: Any, site: Site, name: str) -> None:
    open_page(driver, site, ALL[name])
    assert driver.execute_script("return window.pwned === undefined")
    assert driver.execute_script("return document.scripts.length") == name.endswith("dashboard")
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert is_styled(driver, name)
    assert site.requests == ["/page.html"]
    assert driver.get_log("browser") == []  # neither a violation of the policy nor an error of the script
    if name.endswith("dashboard"):
        assert driver.find_element("id", "controls").is_displayed()  # the script did run


@pytest.mark.parametrize("width", [320, 390, 650, 1280], ids=str)  # 650: the narrowest with columns
@every_page
def test_no_page_scrolls_sideways_or_pushes_points_out(driver: Any, site: Site, name: str, width: int) -> None:
    open_page(driver, site, ALL[name], width)
    driver.execute_script("document.querySelectorAll('details').forEach(element => element.open = true)")
    page_px = driver.execute_script("return document.documentElement.clientWidth")
    assert page_px <= width  # a phone's browser would lay out a wider page and shrink it
    assert driver.execute_script("return document.documentElement.scrollWidth") == page_px
    assert driver.execute_script(RIGHTMOST_POINTS) <= page_px


@pytest.mark.parametrize("name", ["feedback", "dashboard"])
def test_the_policy_stops_even_markup_that_slipped_through(driver: Any, site: Site, name: str) -> None:
    open_page(driver, site, PAGES[name].replace("</main>", f"{BEACONS}</main>"))
    driver.execute_script("document.querySelector('p[onclick]').click()")
    assert driver.execute_script("return window.pwned === undefined")
    assert is_styled(driver, name)
    assert site.requests == ["/page.html"]
    assert len(driver.get_log("browser")) >= 5  # each attempt is reported as a violation


def test_the_beacons_work_without_the_policy(driver: Any, site: Site) -> None:
    """Shows that the test above would notice."""
    open_page(driver, site, f"<!doctype html><body>{BEACONS}</body>")
    assert driver.execute_script("return window.pwned") == 1
    assert "/beacon" in site.requests


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["staff report without a sandbox", "dashboard", "similar code"])
def test_text_has_enough_contrast(driver: Any, site: Site, name: str, scheme: str) -> None:
    """Every text of the page against the nearest background below it: at least 4.5 to 1 (WCAG 2.2, AA)."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    open_page(driver, site, PAGES[name])
    paper = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(251, 250, 247)", "dark": "rgb(21, 23, 26)"}[scheme]
    ratios = driver.execute_script(Path(__file__).with_name("contrast.js").read_text(encoding="utf-8"))
    assert len(ratios) > 20
    assert [(text, ratio) for text, ratio in ratios if ratio < 4.5] == []
