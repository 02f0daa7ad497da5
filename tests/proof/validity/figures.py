"""The sum of the verdicts on the corpus: killed mutants, false fails, checks that nothing needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from grader.model import Verdict
from tests.proof.validity.corpus import CaseKind, CorpusCase
from tests.proof.validity.verdicts import CaseResult

ACCURACY: tuple[str, ...] = ("step1.accuracy", "step2.accuracy", "step3.accuracy")  # shown by training, see `training`
FINE = "·-"  # passed, not judged
LETTERS: Mapping[Verdict, str] = {
    Verdict.FAILED: "F", Verdict.BLOCKED: "b", Verdict.PASSED: "·", Verdict.ERROR: "E", Verdict.NOT_JUDGED: "-",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """The verdicts on one case: a letter for each check, and what differs from the expected ones."""

    case: CorpusCase
    letters: str
    surprises: tuple[str, ...] = ()


@dataclass(frozen=True)
class Matrix:
    """Checks × cases."""

    checks: tuple[str, ...]  # all ids of the rubric, in its order
    rows: tuple[Row, ...]  # patches of the reference, in the order of the corpus
    notebooks: tuple[Row, ...] = ()  # whole ones

    @cached_property
    def mutants(self) -> tuple[Row, ...]:
        """Wrong solutions."""
        return tuple(row for row in self.rows if row.case.kind is CaseKind.MUTANT)

    @cached_property
    def variants(self) -> tuple[Row, ...]:
        """Right solutions."""
        return tuple(row for row in self.rows if row.case.kind is CaseKind.VARIANT)

    @cached_property
    def killed(self) -> tuple[Row, ...]:
        """Mutants whose verdicts and feedback are exactly the expected ones."""
        return tuple(row for row in self.mutants if not row.surprises)

    @cached_property
    def surprising(self) -> tuple[Row, ...]:
        """Cases of any kind that are not judged as expected."""
        return tuple(row for row in (*self.rows, *self.notebooks) if row.surprises)

    @cached_property
    def false_fails(self) -> int:
        """The number of checks that fail, or are blocked, on right solutions."""
        return sum(letter not in FINE for row in self.variants for letter in row.letters)

    @cached_property
    def sole_killers(self) -> Mapping[str, tuple[str, ...]]:
        """Check -> mutants that it alone fails (blocked ones aside)."""
        alone = {
            check: tuple(row.case.id for row in self.killed if row.case.failed == {check}) for check in self.checks
        }
        return {check: found for check, found in alone.items() if check not in ACCURACY}

    @cached_property
    def uncovered(self) -> tuple[str, ...]:
        """Checks that no mutant is failed by alone."""
        return tuple(check for check, found in self.sole_killers.items() if not found)

    @property
    def holds(self) -> bool:
        """True if the grader is right about the whole corpus."""
        return not self.surprising and not self.uncovered and not self.false_fails

    def count_failed(self, check: str) -> tuple[int, int]:
        """Mutants that fail the check as they have to, and mutants that have to."""
        position = self.checks.index(check)
        expected = [row for row in self.mutants if check in row.case.failed]
        return sum(row.letters[position] == "F" for row in expected), len(expected)

    def count_passed(self, check: str) -> tuple[int, int]:
        """Variants and whole notebooks that pass the check as they have to, and those that have to."""
        position = self.checks.index(check)
        rows = (*self.variants, *self.notebooks)
        expected = [row for row in rows if check not in row.case.failed | row.case.blocked]
        return sum(row.letters[position] == "·" for row in expected), len(expected)

    def summarise(self) -> tuple[tuple[str, str], ...]:
        """The figures, with their names."""
        full = sum(not row.surprises for row in self.variants)
        whole = sum(not row.surprises for row in self.notebooks)
        covered = len(self.sole_killers) - len(self.uncovered)
        return (
            ("Mutants killed with exactly the expected checks", f"{len(self.killed)} of {len(self.mutants)}"),
            ("Variants with full marks", f"{full} of {len(self.variants)}"),
            ("Whole notebooks judged as expected", f"{whole} of {len(self.notebooks)}"),
            ("False fails: checks that a variant does not pass", str(self.false_fails)),
            ("Checks with a mutant that they alone fail", f"{covered} of {len(self.sole_killers)}"),
        )


def build_row(result: CaseResult, checks: Sequence[str]) -> Row:
    """The row of one case; `?` where a check said nothing."""
    letters = {j.id: LETTERS[j.verdict] for j in result.judgements}
    return Row(result.case, "".join(letters.get(check, "?") for check in checks), result.surprises)
