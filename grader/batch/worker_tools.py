"""The tools that a worker keeps warm between submissions: a sandbox with everything imported, suite and oracle."""

import gc
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter
from torch import Tensor

from grader import pipeline
from grader.batch import ledger
from grader.batch.ledger import Ledger
from grader.batch.ledger_case import LedgerCase, LedgerEvidence
from grader.batch.messages import BatchConfig, StoredJudgement, Task
from grader.execution.driver import Limits
from grader.execution.gpu_pool import GpuPool
from grader.execution.job import Setup
from grader.execution.progress import Listener
from grader.execution.run import execute
from grader.execution.setup import SandboxOptions
from grader.intake.notebook import read_submission
from grader.judging.apart import Bounds, ChildLost, leave_threads_to_children, run_apart
from grader.judging.boundary import Watch
from grader.judging.careful import judge_carefully
from grader.judging.case import Oracle
from grader.judging.result import GradingResult, judge_case
from grader.model import RunStatus
from grader.oracle.accuracy import load_libraries
from grader.protocol.checkpoint import load_base_tensors
from grader.sandbox import Backend, attach

DONE: Final = TypeAdapter(bool)


class WorkerTools(AbstractContextManager["WorkerTools"]):
    """The real tools of a worker. Raises GraderError where this machine cannot grade."""

    def __init__(self, config: BatchConfig) -> None:
        """Start to import; a kernel that comes too early waits."""
        self.config, self._stack = config, ExitStack()
        self.limits = Limits(cell_s=config.cell_s, notebook_s=config.run_s)
        leave_threads_to_children(config.threads)
        opened = attach(config.sandbox) if config.sandbox else None
        backend = None if config.isolates else Backend.NONE
        sandbox = SandboxOptions(backend, self.limits, config.threads, opened=opened)
        found = self._stack.enter_context(
            pipeline.open_setup(config.profile, config.seed, sandbox, config.precision, trial=config.execute)
        )
        pool = GpuPool(config.gpus, config.kernels_per_gpu) if config.gpus else None
        self.setup: Setup = replace(found, threads=config.threads, gpu_pool=pool)
        self.oracle: Oracle = pipeline.build_oracle(self.setup)
        self.bounds = Bounds.of(config.profile)
        load_libraries(config.profile)
        gc.collect()
        gc.freeze()  # pytest collects garbage after every run: what stays for good is not looked through again

    @cached_property
    def base(self) -> dict[str, Tensor]:
        """The checkpoint's tensors, mapped once."""
        return load_base_tensors(str(self.setup.checkpoint.weights))

    def execute(self, task: Task, folder: Path, listener: Listener) -> RunStatus:
        """Leave evidence and ledger of the notebook in `folder`. Raises SubmissionError, GraderError, OSError."""
        submission = read_submission(task.notebook)
        record = execute(submission, self.setup, folder / "evidence", listener, self.limits)
        listener.stage("noting what the weights show")
        self._note_weights(folder)
        return record.summary.status

    def _note_weights(self, folder: Path) -> None:
        """Write the ledger, in a process of its own; an empty one where the weights are too much for it."""
        try:
            keep = self.config.keep_weights
            run_apart(lambda begin: bool(ledger.note(folder, self.base, keep)), DONE, self.bounds)
        except ChildLost:  # judging says what is wrong with them
            ledger.write(folder, Ledger())

    def judge(self, folder: Path) -> StoredJudgement:
        """Judge what `execute` left. Raises GraderError."""
        folders = pipeline.list_suite_folders()

        def judge(watch: Watch) -> GradingResult:
            evidence = LedgerEvidence(folder / "evidence", ledger.load(folder))
            return judge_case(LedgerCase(evidence, self.oracle, self.base), folders, watch=watch)

        graded = judge_carefully(judge, self.bounds, lambda: pipeline.find_faults_of_ours(self.setup))
        return StoredJudgement(result=graded.result, details=graded.details)

    def __exit__(self, *error: object) -> None:
        """Close the sandbox."""
        self._stack.close()
