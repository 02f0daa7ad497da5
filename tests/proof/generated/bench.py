"""Executes and judges programs on all cores: a process forks for each program, and the suite judges what it left."""

import contextlib
import gc
import hashlib
import json
import multiprocessing
import os
import re
import signal
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import nbformat
import torch
from nbformat.v4 import new_code_cell, new_notebook
from pydantic import Field
from safetensors.torch import load, save, save_file

from grader import challenges, pipeline
from grader.errors import GraderError
from grader.evidence.reader import Evidence
from grader.execution.job import Setup
from grader.execution.record import ProbeOutcome, RunConditions, RunRecord
from grader.execution.run import build_conditions
from grader.execution.setup import UNSANDBOXED
from grader.judging.case import Case, Oracle
from grader.judging.runner import Judgement, run_suite
from grader.model import CellRecord, FailedCell, FrozenModel, Profile, RunStatus, RunSummary, SubmissionRef, Verdict
from grader.paths import REFERENCE
from grader.sandbox.folders import open_temporary_folder
from tests.proof.generated.models import supply_full, supply_small
from tests.proof.generated.programs import Program
from tests.proof.generated.witness import ENDED, Stage, prepare, witness
from tests.proof.validity.corpus import Base, read_base

LIMIT_S: Final = 60  # of one program; an ordinary one takes less than one


class Finding(FrozenModel):
    """What the suite says of one program, and what its process left."""

    id: str
    failed: dict[str, str] = Field(default_factory=dict)  # check -> verdict and rationale, of all that did not pass
    advised: tuple[str, ...] = ()  # checks that passed with advice
    evidence: dict[str, str] = Field(default_factory=dict)  # part -> digest
    died: bool = False

    @property
    def killed(self) -> bool:
        """Whether any check fails."""
        return any(said.startswith(Verdict.FAILED) for said in self.failed.values())

    def list_differences(self, other: Self) -> tuple[str, ...]:
        """The parts of evidence in which two programs differ."""
        parts = sorted(self.evidence.keys() | other.evidence.keys())
        return tuple(part for part in parts if self.evidence.get(part) != other.evidence.get(part))


@dataclass(frozen=True)
class Bench:
    """What programs are executed and judged with."""

    base: Base
    stage: Stage
    oracle: Oracle
    conditions: RunConditions
    folders: Sequence[Path]
    scratch: Path


@contextmanager
def open_bench(seed: int = pipeline.DEFAULT_SEED) -> Iterator[Bench]:
    """Yield a bench whose probes are drawn from a seed. Raises GraderError."""
    if not hasattr(os, "fork"):
        raise GraderError("Generated programs run in forked processes, which Windows lacks; use Linux or macOS.")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the other cores run other programs, and threads do not survive a fork
    try:
        with (
            pipeline.open_setup(Profile.STRUCTURE, seed, UNSANDBOXED, trial=False) as used,
            open_temporary_folder("a4-bench-") as f,
        ):
            yield _build(used, f.resolve())
    finally:
        torch.set_num_threads(threads)


def _build(used: Setup, scratch: Path) -> Bench:
    base, drawn = read_base(REFERENCE), challenges.draw(used.seed)
    small, questions = supply_small(), scratch / "challenges.safetensors"
    save_file(drawn.lora_tensors, questions)
    save_file(dict(small.base), scratch / "small.safetensors")
    names: dict[str, Any] = {}
    exec(base.cells["imports"], names)
    stage = prepare(Stage(names, supply_full(), small, drawn.build_requests(str(questions))))
    oracle = replace(pipeline.build_oracle(used), base_weights=scratch / "small.safetensors")
    return Bench(base, stage, oracle, build_conditions(used), pipeline.list_suite_folders(), scratch)


def examine(bench: Bench, programs: Iterable[Program], jobs: int) -> Iterator[Finding]:
    """Execute and judge programs, in any order."""
    with multiprocessing.get_context("fork").Pool(jobs, _take_bench, (bench,)) as pool:
        yield from pool.imap_unordered(_examine_here, programs, chunksize=4)


_taken: list[Bench] = []  # of a worker


def _take_bench(bench: Bench) -> None:
    _taken[:] = [bench]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool


def _examine_here(program: Program) -> Finding:
    return examine_one(_taken[0], program)


def examine_one(bench: Bench, program: Program) -> Finding:
    """Execute a program in a process of its own, and judge it."""
    with open_temporary_folder("program-", bench.scratch) as folder:
        cells = {**bench.base.cells, **program.cells}
        ended = _run_forked(bench, cells, folder)
        _write_record(bench, program.id, cells, folder, ended)
        judgements = run_suite(Case(Evidence(folder), bench.oracle), bench.folders)
        return _summarise(program.id, judgements, folder, died=ended is None)


def _run_forked(bench: Bench, cells: Mapping[str, str], folder: Path) -> dict[str, list[str]] | None:
    """The errors of the cells, or None where the process died or took too long."""
    pid = os.fork()
    if pid == 0:
        gc.disable()  # it would walk, and copy, all that the process has inherited
        signal.alarm(LIMIT_S)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        code = 1
        try:
            with (folder / "printed.txt").open("w") as printed, contextlib.redirect_stdout(printed):
                witness(bench.stage, cells, folder)
            code = 0
        except BaseException as error:
            (folder / "died.txt").write_text("".join(traceback.format_exception(error)), encoding="utf-8")
            raise
        finally:
            os._exit(code)
    os.waitpid(pid, 0)
    ended = folder / ENDED
    return json.loads(ended.read_text(encoding="utf-8")) if ended.is_file() else None


def _write_record(
    bench: Bench, name: str, cells: Mapping[str, str], folder: Path, ended: dict[str, list[str]] | None
) -> None:
    """Put the host's own record beside the evidence, as after an ordinary execution."""
    order = list(cells)
    failed = tuple(FailedCell(index=order.index(c), error=e[0], message=e[1]) for c, e in (ended or {}).items())
    status = RunStatus.KERNEL_DIED if ended is None else RunStatus.STUDENT_ERROR if failed else RunStatus.OK
    record = RunRecord(
        submission=SubmissionRef(name=name, sha256="0" * 64),
        conditions=bench.conditions,
        summary=RunSummary(status=status, wall_s=0, peak_memory_mib=0, failed_cells=failed),
        reason="the process died or took too long" if ended is None else "",
        cells=tuple(
            CellRecord(index=i, source=source, duration_s=0, status="ok") for i, source in enumerate(cells.values())
        ),
        training_cells={},
        probes={
            family: ProbeOutcome.ANSWERED if (folder / f"probe-{family}.json").is_file() else ProbeOutcome.FAILED
            for family in bench.stage.requests
        },
        timings={},
    )
    (folder / "run.json").write_text(record.model_dump_json(), encoding="utf-8")
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells.values()])
    nbformat.write(notebook, folder / "submitted.ipynb")


def _summarise(name: str, judgements: Iterable[Judgement], folder: Path, died: bool) -> Finding:
    wrong = [j for j in judgements if j.verdict not in (Verdict.PASSED, Verdict.NOT_JUDGED)]
    said = {j.id: f"{j.verdict}: {j.rationale}{f' [{j.fault}]' if j.fault else ''}" for j in wrong}
    advised = tuple(j.id for j in judgements if j.verdict is Verdict.PASSED and j.rationale)
    return Finding(id=name, failed=said, advised=advised, evidence=digest_parts(folder), died=died)


AT_START: Final = re.compile(r"c\d+\.fresh_.*")  # follows from the random values in a fresh layer


def digest_parts(folder: Path) -> dict[str, str]:
    """Digests of all that the process left, by part: the same for programs that nothing here can tell apart."""
    files = {path.name: path.read_bytes() for path in sorted(folder.glob("*"))}
    parts = {name: data for name, data in files.items() if name in (ENDED, "trainings.json")}
    parts |= {name: data for name, data in files.items() if name.startswith("probe-") and name.endswith(".json")}
    found = {name: hashlib.sha256(data).hexdigest()[:16] for name, data in parts.items()}
    answers = load(files["probe-lora.safetensors"]) if "probe-lora.safetensors" in files else {}
    for part, at_start in (("layer at the start", True), ("layer", False)):
        chosen = {key: value for key, value in answers.items() if bool(AT_START.fullmatch(key)) is at_start}
        found[part] = hashlib.sha256(save(chosen)).hexdigest()[:16]
    weights = b"".join(data for name, data in files.items() if name.startswith("training-"))
    return found | {"trained weights": hashlib.sha256(weights).hexdigest()[:16]}
