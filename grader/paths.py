"""Where the files of this project lie that are no modules. A kit of students' has some of them only."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
REFERENCE: Final = ROOT / "reference" / "solution.ipynb"
TEMPLATE: Final = ROOT / "student_template" / "assignment.ipynb"
RUBRIC: Final = ROOT / "data" / "rubric.toml"
CALIBRATIONS: Final = ROOT / "data" / "calibration.json"
MEASURED: Final = ROOT / "data" / "measured"  # what took hours to find out, kept so that nobody repeats it
PUBLIC_TESTS: Final = ROOT / "tests" / "public"
HIDDEN_TESTS: Final = ROOT / "tests" / "hidden"
CORPUS: Final = ROOT / "tests" / "corpus"
