"""The host's own record of an execution. Trusted code writes it, unlike everything else in the evidence folder."""

from enum import StrEnum

from grader.execution.admission import Suspicion, WatchedTraining
from grader.model import CellRecord, FrozenModel, Profile, RunSummary, SubmissionRef


class ProbeOutcome(StrEnum):
    """The end of a family of probes."""

    ANSWERED = "answered"
    TIMEOUT = "timeout"
    FAILED = "failed"  # the kernel answered with an error, or not at all
    NOT_RUN = "not_run"


class RunConditions(FrozenModel):
    """The conditions of a run: everything that a verdict may depend on besides the notebook."""

    profile: Profile
    seed: int
    checkpoint: str
    checkpoint_sha256: str
    reviews: str
    reviews_sha256: str
    synthetic: bool
    precision: str
    budget: str  # digest of the training budget, "as submitted" without one
    sandbox: str
    grader: str  # version


class RunRecord(FrozenModel):
    """One execution, as `run.json`."""

    submission: SubmissionRef
    conditions: RunConditions
    summary: RunSummary
    reason: str  # why it ended as it did, one sentence; empty when all went well
    cells: tuple[CellRecord, ...]
    training_cells: dict[int, int]  # training index -> cell index
    probes: dict[str, ProbeOutcome]
    timings: dict[str, float]
    refused: tuple[str, ...] = ()  # files that were not taken as evidence, with the reason
    repairs: tuple[str, ...] = ()  # what had to be done to read the submitted file, a sentence each
    work_measured: bool = False  # the work of trainings; earlier runs did not
    trainings: dict[int, WatchedTraining] | None = None  # that the host was told of as they went on; None: earlier runs
    suspicions: tuple[Suspicion, ...] = ()
    faults: tuple[str, ...] = ()  # of the grader's own code in the kernel, a line each: nothing is deducted then

    @property
    def out_of_order(self) -> list[int]:
        """Return the indices of the cells that came too early and were run again after the last one."""
        return [cell.index for cell in self.cells if cell.first_error]
