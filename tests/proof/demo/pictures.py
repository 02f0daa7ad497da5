"""Takes the pictures in docs/ of a class that is graded: what the pages look like today.

    python -m tests.proof.demo.pictures results/demo-class [--student name]

Needs Debian's chromium and chromium-driver, and the Python package selenium.
"""

import argparse
import io
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import uvicorn
from PIL import Image
from selenium import webdriver

from grader.errors import GraderError
from grader.model import Verdict
from grader.paths import ROOT
from grader.review.app import build_app
from grader.review.classroom import Classroom, Dossier
from grader.review.server import HOST, open_socket

FLAGS: Final = ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "hide-scrollbars")
DESK: Final = (940, 1060)  # width and height of a window
HALF: Final = (560, 1000)
PHONE: Final = (390, 1060)
WIDE: Final = (1280, 960)
GAP_PX: Final = 20
GREY: Final = (128, 128, 128)
COLOURS: Final = 128  # more would double the size of a file and cannot be seen
TOKEN: Final = "picture"


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with the results of a class")
    parser.add_argument("--student", default="", help="whose reports to show, by a part of the name")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    shown = choose_student(folder, arguments.student)
    reports = (folder / "submissions" / shown.upload_id).as_uri()
    index = (folder / "index.html").as_uri()
    with open_browser() as driver, serve_review(folder) as review:
        driver.get(f"{review}/?token={TOKEN}")
        pictures = {
            "dashboard": [take(driver, index, DESK), take(driver, index, PHONE)],
            "reports": [take(driver, f"{reports}/{name}.html", HALF) for name in ("feedback", "staff")],
            "review": [take(driver, f"{review}/student/{shown.code}", WIDE)],
        }
    for name, parts in pictures.items():
        path = arguments.docs / f"{name}.png"
        join(parts).quantize(COLOURS).save(path, optimize=True)
        print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


def choose_student(folder: Path, name: str) -> Dossier:
    """Choose whose reports are shown: without a name, who has the most points of those with two failed checks or more.

    Raises GraderError.
    """
    dossiers = [one for one in Classroom(folder).look().dossiers.values() if one.grade.result]
    fitting = [one for one in dossiers if name.casefold() in one.grade.student.name.casefold()]
    failed = [one for one in fitting if sum(check.verdict is Verdict.FAILED for check in one.checks) > 1]
    if not fitting:
        raise GraderError(f"{folder} has no graded student with {name!r} in the name; name another.")
    return max(failed or fitting, key=lambda one: one.grade.points or 0.0)


@contextmanager
def open_browser() -> Iterator[Any]:
    """Open a browser without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in FLAGS:
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def serve_review(folder: Path) -> Iterator[str]:
    """Serve the review page of a class. Gives its address, without the token."""
    with open_socket(0) as found:
        server = uvicorn.Server(
            uvicorn.Config(build_app(folder, TOKEN, "ada"), log_level="error", access_log=False, lifespan="off")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [found]})
        thread.start()
        yield f"http://{HOST}:{found.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def take(driver: Any, address: str, size: tuple[int, int]) -> Image.Image:
    """Take a picture of the beginning of a page, in light colours."""
    width, height = size
    measures = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width == PHONE[0]}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", measures)
    media = {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.get(address)
    return Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")


def join(parts: list[Image.Image]) -> Image.Image:
    """Put pictures side by side."""
    width = sum(part.width for part in parts) + GAP_PX * (len(parts) - 1)
    whole = Image.new("RGB", (width, max(part.height for part in parts)), GREY)
    left = 0
    for part in parts:
        whole.paste(part, (left, 0))
        left += part.width + GAP_PX
    return whole


if __name__ == "__main__":
    main()
