"""Paths of this project's files other than modules. The students' kit has only some of them."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
REFERENCE: Final = ROOT / "reference" / "solution.ipynb"
TEMPLATE: Final = ROOT / "student_template" / "assignment.ipynb"
RUBRIC: Final = ROOT / "data" / "rubric.toml"
CALIBRATIONS: Final = ROOT / "data" / "calibration.json"
MEASURED: Final = ROOT / "data" / "measured"  # results of measurements that took hours
PUBLIC_TESTS: Final = ROOT / "tests" / "public"
HIDDEN_TESTS: Final = ROOT / "tests" / "hidden"
CORPUS: Final = ROOT / "tests" / "corpus"
