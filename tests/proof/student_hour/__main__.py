"""The command: see the package."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from grader.errors import GraderError
from grader.paths import ROOT
from tests.proof.demo.pictures import open_browser
from tests.proof.speed.machine import read_load_average
from tests.proof.student_hour import hour, page
from tests.proof.student_hour.hour import Outcome
from tests.proof.student_hour.kit_folder import KitFolder, make_folder
from tests.proof.student_hour.live_notebook import LiveNotebook
from tests.proof.student_hour.page import Times
from tests.proof.student_hour.pictures import Photographer
from tests.proof.student_hour.scenes import ALL, SCENES, Scene
from tests.proof.student_hour.server import prepare_environment, serve

OUT: Final = ROOT / "results" / "student-hour"


def main() -> int:
    """Play the scenes. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="words, by commas: scenes whose id begins so")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for everything that is made")
    parser.add_argument("--docs", type=Path, help="folder that student-check.md is written to")
    asked = parser.parse_args()
    out = asked.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    try:
        kit = make_folder(out, os.environ)
        python = prepare_environment(out / "environment", kit.path / "requirements.lock")
    except GraderError as error:
        print(error, file=sys.stderr)
        return 2
    chosen = [scene for scene in SCENES if scene.id.startswith(tuple(asked.only.split(",")))]
    with serve(python, kit.path, out / "scratch") as lab, open_browser() as driver:
        notebook = LiveNotebook(driver, lab)
        photographer = Photographer(notebook, out / "pictures")
        hour.run_right(notebook, kit, list_needed(chosen) if asked.only else ())
        outcomes = play_all(chosen, notebook, kit, photographer, out / "said.md")
        times = None if asked.only else finish(notebook, photographer)
    for fault in photographer.faults:
        print(f"too wide: {fault}")
    if asked.docs and times:
        (asked.docs / "student-check.md").write_text(page.render(outcomes, times), encoding="utf-8")
    return int(bool(photographer.faults) or any(outcome.faults for outcome in outcomes))


def list_needed(scenes: Sequence[Scene]) -> tuple[str, ...]:
    """Return the cells that stand before the first of these scenes, where those before it are not played."""
    first = scenes[0].cell if scenes else ""
    return ALL[: ALL.index(first)] if first in ALL else ()


def play_all(
    scenes: Sequence[Scene], notebook: LiveNotebook, kit: KitFolder, photographer: Photographer, kept: Path
) -> list[Outcome]:
    """Play scenes one after the other, with a line each. `kept`: file for all that was said so far."""
    outcomes = []
    for scene in scenes:
        began = time.perf_counter()
        outcome = hour.play(scene, notebook, kit, photographer.take)
        outcomes.append(outcome)
        kept.write_text(page.render_all(outcomes), encoding="utf-8")
        verdict = "; ".join(outcome.faults) or hour.find_verdict(outcome.said)
        mark = "MISS" if outcome.faults else "ok"
        print(f"{mark:4}  {scene.id:18} {time.perf_counter() - began:4.0f} s  {verdict}", flush=True)
    return outcomes


def finish(notebook: LiveNotebook, photographer: Photographer) -> Times:
    """Take the time of checks on a notebook that is right, and its picture."""
    times = Times(hour.measure(notebook, "check-3-3"), notebook.run("check-file"), read_load_average())
    photographer.take("file", "check-file")
    photographer.take_whole("whole")
    print(f"check('3.3') {times.one_s:.2f} s (median of {hour.REPEATED}), check_file() {times.file_s:.1f} s")
    return times


if __name__ == "__main__":
    sys.exit(main())
