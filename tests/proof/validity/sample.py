"""`python -m tests.proof.validity.sample`: which tests of the corpus a run may leave out, as options of pytest.

docs/validity.md names the code on which `make validate` judged the whole corpus. Where that is the code of this tree,
one case in five is judged again, to see that the page does not lie; where it is any other code, all of them are.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from grader.paths import ROOT
from tests.proof.validity import corpus_run, rounds

PAGE: Final = ROOT / "docs" / "validity.md"
ONE_IN: Final = 5
TESTS: Final = "tests/harness/proof/validity"


def main() -> None:
    """Print one option in each line; none where everything has to run."""
    for option in list_options(PAGE, rounds.digest_code()):
        print(option)


def list_options(page: Path, code: str) -> Iterator[str]:
    """Yield an option for each case that is left out: those that a page of this code names, but for a sample."""
    stated = re.search(r"on code `(\w+)`", page.read_text(encoding="utf-8"))
    if stated is None or stated[1] != code:
        return
    corpus = [case.id for case in corpus_run.load()[1] if not case.training]
    habits = [case.id for case in corpus_run.load_notebooks()]
    for test, names in (
        ("test_verdicts.py::test_verdicts_and_feedback", corpus),
        ("test_habits.py::test_verdicts", habits),
    ):
        yield from (f"--deselect={TESTS}/{test}[{name}]" for name in names if not is_drawn(name, code))


def is_drawn(name: str, code: str) -> bool:
    """Return True for one case in five, others for each code."""
    return int.from_bytes(hashlib.sha256(f"{code} {name}".encode()).digest()[:8]) % ONE_IN == 0


if __name__ == "__main__":
    main()
