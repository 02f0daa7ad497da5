"""All cases in one backend.

A round runs in a process of its own: what it leaves behind and how much it grows is then its own. That process is
`python -m tests.proof.security.rounds BACKEND FILE CASE …`, and leaves its results in the file.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from grader import paths, pipeline
from grader.batch.digests import SUITE, VERSIONS, digest_files
from grader.closure import Tree, closure
from grader.errors import GraderError
from grader.execution import isolation
from grader.execution.job import Setup
from grader.execution.setup import SandboxOptions, prepare_assets
from grader.model import Profile
from grader.sandbox import Backend, SandboxPolicy, select
from tests.proof.security.canaries import place_canaries
from tests.proof.security.case_run import LIMITS, HostileResult, run_case
from tests.proof.security.cases import HostileCase, load_cases
from tests.proof.security.table import format_line
from tests.proof.security.traces import capture_traces

CODE: Final = "tests.proof.security.rounds"  # and what it imports
CORPUS: Final = paths.CORPUS / "hostile"
HONEST_EVERY: Final = 20  # hostile notebooks between two runs of the honest one
PARTS: Final = 2  # of the cases, in processes that work side by side
GROUPS: Final = 5  # of the cases, each a test of its own
SMALL: Final[dict[str, Any]] = {
    "memory_mib": 1_400, "cpu_s": 60, "processes": 96, "file_mib": 64, "scratch_mib": 200, "inodes": 5_000,
    "evidence_mib": 64, "evidence_files": 64,
}  # fmt: skip
TRIALS: Final = TypeAdapter(tuple[HostileResult, ...])


def order_cases(cases: Sequence[HostileCase]) -> Iterator[HostileCase]:
    """All hostile ones, an honest one in between and last."""
    honest, hostile = ([case for case in cases if case.honest is wanted] for wanted in (True, False))
    for begin in range(0, max(1, len(hostile)), HONEST_EVERY):
        yield from hostile[begin : begin + HONEST_EVERY]
        yield from honest


def run_round(backend: Backend, cases: Sequence[HostileCase]) -> tuple[HostileResult, ...]:
    """All cases one after the other in one sandbox. Its process and its folder of temporary files must be its own.

    Tells about each on stderr.
    """
    temporary = Path(tempfile.gettempdir())
    with place_canaries(temporary / "canaries") as canaries, _setup(backend) as used:
        glance = partial(capture_traces, temporary, canaries.places["MARK"])
        honest = next(case for case in load_cases(CORPUS) if case.honest)
        run_case(honest, used, canaries, glance)  # what is imported and kept at first use is no growth
        trials = []
        for case in order_cases(cases):
            trials.append(run_case(case, used, canaries, glance))
            print(format_line(trials[-1]), file=sys.stderr, flush=True)
        return tuple(trials)


@contextmanager
def _setup(backend: Backend) -> Iterator[Setup]:
    checkpoint, metrics = prepare_assets(Profile.STRUCTURE)
    policy: SandboxPolicy = replace(isolation.build_policy(checkpoint, metrics, LIMITS), **SMALL)
    sandbox = select(policy, warmup=isolation.build_warmup(checkpoint, metrics), only=backend)
    options = SandboxOptions(opened=sandbox)
    with pipeline.open_setup(Profile.STRUCTURE, pipeline.DEFAULT_SEED, options, trial=False) as used:
        sandbox.wait()
        yield used


def list_groups(cases: Sequence[HostileCase]) -> dict[str, list[str]]:
    """Deal the ids of hostile cases out to groups of about the same size, by the name of the group."""
    ids = [case.id for case in cases if not case.honest]
    return {f"{number} of {GROUPS}": ids[number - 1 :: GROUPS] for number in range(1, GROUPS + 1)}


def digest_hostile() -> str:
    """Digest the code and the cases that the outcomes of hostile notebooks follow from. Raises GraderError."""
    tree = Tree(paths.ROOT)
    return digest_files(tree, closure(tree, [CODE, *SUITE, CORPUS.relative_to(paths.ROOT).as_posix(), VERSIONS]))[:16]


def run_in_parts(backend: Backend, ids: Sequence[str]) -> tuple[HostileResult, ...]:
    """Hostile cases, dealt out to processes that work side by side: most only wait for a limit.

    Each of them also runs the honest one, in between and last. Raises GraderError.
    """
    honest = next(case.id for case in load_cases(CORPUS) if case.honest)
    with ThreadPoolExecutor(PARTS) as pool:
        parts = range(min(PARTS, len(ids)))
        rounds = list(pool.map(lambda part: run_in_process(backend, (*ids[part::PARTS], honest)), parts))
    return tuple(trial for trials in rounds for trial in trials)


def run_in_process(backend: Backend, ids: Sequence[str]) -> tuple[HostileResult, ...]:
    """A round of some cases. Tells about each on stderr. Raises GraderError."""
    with tempfile.TemporaryDirectory(prefix="h") as name:  # short: paths of sockets are bounded
        Path(name).chmod(0o755)
        told = Path(name) / "trials.json"
        command = [sys.executable, "-m", "tests.proof.security.rounds", backend.value, str(told), *ids]
        ended = subprocess.run(command, cwd=paths.ROOT, env={**os.environ, "TMPDIR": name})
        if ended.returncode or not told.is_file():
            raise GraderError(f"The hostile notebooks ended the grader in backend {backend}: see the lines above.")
        return TRIALS.validate_json(told.read_bytes())


if __name__ == "__main__":
    name, file, *wanted = sys.argv[1:]
    Path(file).write_bytes(
        TRIALS.dump_json(run_round(Backend(name), [c for c in load_cases(CORPUS) if c.id in wanted]))
    )
