"""Judges cases and compares what the grader says with what the corpus expects."""

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from grader import pipeline
from grader.evidence.reader import Evidence
from grader.execution.job import Setup
from grader.judging.case import Case, Oracle
from grader.judging.runner import Judgement, run_suite
from grader.model import Method, Verdict
from grader.oracle.certificates import Certificate
from tests.proof.validity.corpus import Base, CorpusCase
from tests.proof.validity.fork_client import execute_cases


@dataclass(frozen=True)
class CaseResult:
    """The grader's answers about one case."""

    case: CorpusCase
    judgements: tuple[Judgement, ...]
    first_error: str = ""  # of its cells, or why they ended too early

    @cached_property
    def words(self) -> tuple[Judgement, ...]:
        """The failed checks: what the student reads first."""
        return tuple(j for j in self.judgements if j.verdict is Verdict.FAILED)

    @property
    def surprises(self) -> tuple[str, ...]:
        """The differences from the expected verdicts; empty when they are exactly those."""
        return tuple(self._list_surprises())

    def _list_surprises(self) -> Iterator[str]:
        for verdict, expected in ((Verdict.FAILED, self.case.failed), (Verdict.BLOCKED, self.case.blocked)):
            observed = {j.id for j in self.judgements if j.verdict is verdict}
            yield from (f"{check} is not {verdict}{self._explain(check)}" for check in sorted(expected - observed))
            yield from (f"{check} is {verdict}{self._explain(check)}" for check in sorted(observed - expected))
        yield from (f"{j.id} is an error: {j.fault}" for j in self.judgements if j.verdict is Verdict.ERROR)
        said = " ".join(f"{j.rationale} {j.hint}" for j in self.judgements)
        yield from (f"the feedback does not say {phrase!r}" for phrase in self.case.says if phrase not in said)

    def _explain(self, check: str) -> str:
        """Name in brackets what was said of a check, or the first error of a cell."""
        said = next((j.rationale for j in self.judgements if j.id == check and j.rationale), "")
        reason = said or (self.first_error and f"the first failing cell: {self.first_error}")
        return f" ({reason})" if reason else ""


class SharedCase(Case):
    """A case whose certificates are kept for other cases that hold the very same evidence file."""

    def __init__(self, evidence: Evidence, oracle: Oracle, known: dict[int, Certificate | None]) -> None:
        """`known`: certificates by inode; branches share the files of the trainings before they departed."""
        super().__init__(evidence, oracle)
        self.known = known

    def certificate(self, method: Method) -> Certificate | None:
        """As in any case."""
        training = self.training(method)
        if training is None or training.exit.file is None:
            return super().certificate(method)
        file = (self.evidence.folder / training.exit.file).stat()
        if file.st_nlink == 1:  # of this branch alone
            return super().certificate(method)
        if file.st_ino not in self.known:
            self.known[file.st_ino] = super().certificate(method)
        return self.known[file.st_ino]


def examine(base: Base, cases: Sequence[CorpusCase], setup: Setup) -> Iterator[CaseResult]:
    """Execute and judge all cases. Raises GraderError."""
    oracle, folders = pipeline.build_oracle(setup), pipeline.list_suite_folders()
    known: dict[int, Certificate | None] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the other core runs the next case
    gc.freeze()  # what is here before the first case is not searched again after each
    try:
        for case, folder in execute_cases(base, cases, setup):
            submission = SharedCase(Evidence(folder), oracle, known)
            run = submission.evidence.run
            errors = [f"{cell.error}: {cell.message}" for cell in run.summary.failed_cells]
            yield CaseResult(case, run_suite(submission, folders), [*errors, run.reason][0])
            gc.collect()  # a pytest session is full of cycles, which hold the weights of the case that it judged
    finally:
        gc.unfreeze()
        torch.set_num_threads(threads)
