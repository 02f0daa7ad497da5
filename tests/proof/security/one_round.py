"""One round in a process of its own: `python -m tests.proof.security.one_round BACKEND FILE`."""

import sys
from pathlib import Path

from grader.sandbox import Backend
from tests.proof.security.case_run import HostileResult
from tests.proof.security.cases import load_cases
from tests.proof.security.rounds import CORPUS, TRIALS, order_cases, run_round
from tests.proof.security.table import format_line


def tell(trial: HostileResult) -> None:
    """One line as soon as a case has ended."""
    print(format_line(trial), file=sys.stderr, flush=True)


if __name__ == "__main__":
    wanted = set(sys.argv[3:])
    cases = list(order_cases([case for case in load_cases(CORPUS) if not wanted or case.id in wanted]))
    Path(sys.argv[2]).write_bytes(TRIALS.dump_json(run_round(Backend(sys.argv[1]), cases, tell)))
