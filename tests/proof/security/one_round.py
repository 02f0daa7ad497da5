"""One round in a process of its own: `python -m tests.proof.security.one_round BACKEND FILE`."""

import sys
from pathlib import Path

from grader.sandbox import Backend
from tests.proof.security.cases import load_cases
from tests.proof.security.rounds import CORPUS, TRIALS, order_cases, run_round
from tests.proof.security.table import format_line

if __name__ == "__main__":
    backend, file, *wanted = sys.argv[1:]
    cases = list(order_cases([case for case in load_cases(CORPUS) if not wanted or case.id in wanted]))
    trials = run_round(Backend(backend), cases, lambda trial: print(format_line(trial), file=sys.stderr, flush=True))
    Path(file).write_bytes(TRIALS.dump_json(trials))
