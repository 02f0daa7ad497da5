"""`python -m tests.proof.sample`: which tests of corpus and attacks a run may leave out, as options of pytest.

A page names the code on which `make validate` judged the whole corpus, and one that on which `make hostile` ran every
attack. Where that is the code of this tree, a tenth of the cases and a fifth of the attacks are tried again, to see
that the page does not lie; where it is any other code, all of them are.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from grader.paths import ROOT
from tests.proof.security.cases import load_cases
from tests.proof.security.rounds import CORPUS, digest_hostile, list_groups
from tests.proof.validity import corpus_run, rounds

VALIDITY: Final = ROOT / "docs" / "validity.md"
HOSTILITY: Final = ROOT / "docs" / "threat-model.md"
ONE_IN: Final = 10  # of the cases of the corpus
TESTS: Final = "tests/harness/proof"


def main() -> None:
    """Print one option in each line; none where everything has to run."""
    for option in (*list_judged(VALIDITY, rounds.digest_code()), *list_attacked(HOSTILITY, digest_hostile())):
        print(option)


def list_judged(page: Path, code: str) -> Iterator[str]:
    """Yield an option for each case of the corpus that a page of this code names, but for a sample."""
    if not is_vouched_for(page, code):
        return
    corpus = [case.id for case in corpus_run.load()[1] if not case.training]
    habits = [case.id for case in corpus_run.load_notebooks()]
    for test, names in (
        ("test_verdicts.py::test_verdicts_and_feedback", corpus),
        ("test_habits.py::test_verdicts", habits),
    ):
        yield from (f"--deselect={TESTS}/validity/{test}[{name}]" for name in names if not is_drawn(name, code))


def list_attacked(page: Path, code: str) -> Iterator[str]:
    """Yield an option for each group of hostile notebooks but one, where a page of this code names them."""
    if is_vouched_for(page, code):
        groups = [*list_groups(load_cases(CORPUS))]
        del groups[draw(code) % len(groups)]
        test = f"{TESTS}/security/test_hostile.py::test_every_notebook"
        yield from (f"--deselect={test}[warm-{group}]" for group in groups)


def is_vouched_for(page: Path, code: str) -> bool:
    """Return True if a page was measured on this code."""
    stated = re.search(r"on code `(\w+)`", page.read_text(encoding="utf-8"))
    return stated is not None and stated[1] == code


def is_drawn(name: str, code: str) -> bool:
    """Return True for one case in ten, others for each code."""
    return draw(f"{code} {name}") % ONE_IN == 0


def draw(text: str) -> int:
    """Draw a number that nobody chose."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


if __name__ == "__main__":
    main()
