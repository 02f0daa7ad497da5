"""Pictures of a check's output, as wide as a screen and as a phone, in both of JupyterLab's themes."""

import io
import time
from pathlib import Path
from typing import Final

from PIL import Image

from tests.proof.demo.pictures import COLOURS, DESK
from tests.proof.student_hour.live_notebook import LiveNotebook

SIZES: Final = {"1280": (1280, 900), "390": (390, 844)}
THEMES: Final = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
SETTLE_S: Final = 0.5  # until the page has found its new form
AROUND_PX: Final = 200  # menus and bars
LONGEST_PX: Final = 15_000  # what a browser can take in one picture


class Photographer:
    """Takes pictures into a folder, and notes outputs that are wider than their place."""

    def __init__(self, notebook: LiveNotebook, folder: Path) -> None:
        """Make the folder."""
        self.notebook, self.folder, self.faults = notebook, folder, list[str]()
        folder.mkdir(parents=True, exist_ok=True)
        resize(notebook, *SIZES["1280"])

    def take(self, name: str, cell: str) -> None:
        """Take the pictures of one output."""
        for theme, theme_name in THEMES.items():
            self.notebook.command("apputils:change-theme", theme=theme_name)
            for width, size in SIZES.items():
                resize(self.notebook, *size)
                self.notebook.show(cell, "center")
                surplus = self.notebook.measure_surplus(cell)
                self.faults += [f"{name} at {width} px: {surplus} px too wide"] if surplus > 0 else []
                save(self.notebook, self.folder / f"{name}-{width}-{theme}.png")
        self._put_back()

    def take_whole(self, name: str) -> None:
        """Take one picture of the whole notebook in each width, in light colours."""
        for width, (width_px, height_px) in SIZES.items():
            resize(self.notebook, width_px, height_px)
            resize(self.notebook, width_px, min(self.notebook.measure_length() + AROUND_PX, LONGEST_PX))
            self.notebook.show_beginning()
            time.sleep(SETTLE_S)
            save(self.notebook, self.folder / f"{name}-{width}.png")
        self._put_back()

    def _put_back(self) -> None:
        self.notebook.command("apputils:change-theme", theme=THEMES["light"])
        resize(self.notebook, *SIZES["1280"])


def resize(notebook: LiveNotebook, width: int, height: int) -> None:
    """Give the browser's page another size; beside a narrow notebook there is no room for the list of files."""
    measures = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    notebook.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", measures)
    collapse = "collapse" if width < DESK[0] else "expand"
    notebook.driver.execute_script(f"window.jupyterapp.shell.{collapse}Left();")
    time.sleep(SETTLE_S)


def save(notebook: LiveNotebook, path: Path) -> None:
    """Save what the page shows."""
    shot = Image.open(io.BytesIO(notebook.driver.get_screenshot_as_png())).convert("RGB")
    shot.quantize(COLOURS).save(path, optimize=True)
