"""What the findings amount to: killed mutants, false fails, and checks that nothing shows to be needed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from grader.model import Verdict
from tests.proof.validity.corpus import CaseKind, CorpusCase
from tests.proof.validity.verdicts import CaseResult

ACCURACY: tuple[str, ...] = ("step1.accuracy", "step2.accuracy", "step3.accuracy")  # shown by training, see `training`


@dataclass(frozen=True)
class Matrix:
    """Checks × specimens."""

    checks: tuple[str, ...]  # all ids of the rubric, in its order
    findings: tuple[CaseResult, ...]  # in the order of the corpus

    @cached_property
    def mutants(self) -> tuple[CaseResult, ...]:
        """Findings about wrong solutions."""
        return tuple(f for f in self.findings if f.specimen.kind is CaseKind.MUTANT)

    @cached_property
    def variants(self) -> tuple[CaseResult, ...]:
        """Findings about right solutions."""
        return tuple(f for f in self.findings if f.specimen.kind is CaseKind.VARIANT)

    @cached_property
    def killed(self) -> tuple[CaseResult, ...]:
        """Mutants whose verdicts and feedback are exactly the expected ones."""
        return tuple(f for f in self.mutants if not f.surprises)

    @cached_property
    def surprising(self) -> tuple[CaseResult, ...]:
        """Specimens of either kind that are not judged as expected."""
        return tuple(f for f in self.findings if f.surprises)

    @cached_property
    def false_fails(self) -> int:
        """How many checks fail, or are blocked, on right solutions."""
        return sum(len(f.ids(Verdict.FAILED) | f.ids(Verdict.BLOCKED) | f.ids(Verdict.ERROR)) for f in self.variants)

    @cached_property
    def sole_killers(self) -> Mapping[str, tuple[str, ...]]:
        """Check -> mutants that it alone fails (blocked ones aside)."""
        alone = {
            check: tuple(f.specimen.id for f in self.killed if f.specimen.failed == {check}) for check in self.checks
        }
        return {check: found for check, found in alone.items() if check not in ACCURACY}

    @cached_property
    def uncovered(self) -> tuple[str, ...]:
        """Checks that no mutant is failed by alone."""
        return tuple(check for check, found in self.sole_killers.items() if not found)

    @property
    def holds(self) -> bool:
        """Whether the grader is right about the whole corpus."""
        return not self.surprising and not self.uncovered and not self.false_fails

    def summary(self) -> tuple[tuple[str, str], ...]:
        """The figures, with their names."""
        covered = len(self.sole_killers) - len(self.uncovered)
        return (
            ("Mutants killed with exactly the expected checks", f"{len(self.killed)} of {len(self.mutants)}"),
            ("Variants with full marks", f"{len(self.variants) - len(self._failing)} of {len(self.variants)}"),
            ("False fails", str(self.false_fails)),
            ("Checks with a mutant that they alone fail", f"{covered} of {len(self.sole_killers)}"),
            ("Uncovered checks", ", ".join(self.uncovered) or "none"),
        )

    @cached_property
    def _failing(self) -> tuple[CaseResult, ...]:
        return tuple(f for f in self.variants if f.surprises)


def build_matrix(checks: Iterable[str], findings: Iterable[CaseResult], corpus: Sequence[CorpusCase]) -> Matrix:
    """Findings in the order of the corpus."""
    order = {specimen.id: position for position, specimen in enumerate(corpus)}
    return Matrix(tuple(checks), tuple(sorted(findings, key=lambda f: order[f.specimen.id])))


def get_letter(finding: CaseResult, check: str) -> str:
    """One cell of the matrix: F failed, b blocked, · passed, - not judged, E a fault of the grader."""
    letters = {Verdict.FAILED: "F", Verdict.BLOCKED: "b", Verdict.PASSED: "·", Verdict.ERROR: "E"}
    verdict = next((j.verdict for j in finding.judgements if j.id == check), None)
    return letters.get(verdict, "-") if verdict else "?"
