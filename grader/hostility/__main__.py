"""One round in a process of its own: `python -m grader.hostility BACKEND FILE`."""

import sys
from pathlib import Path

from grader.hostility.cases import load_cases
from grader.hostility.rounds import CORPUS, TRIALS, in_order, run_round
from grader.hostility.table import line
from grader.hostility.trial import Trial
from grader.sandbox import Backend


def tell(trial: Trial) -> None:
    """One line as soon as a case has ended."""
    print(line(trial), file=sys.stderr, flush=True)


if __name__ == "__main__":
    wanted = set(sys.argv[3:])
    cases = list(in_order([case for case in load_cases(CORPUS) if not wanted or case.id in wanted]))
    Path(sys.argv[2]).write_bytes(TRIALS.dump_json(run_round(Backend(sys.argv[1]), cases, tell)))
