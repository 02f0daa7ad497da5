"""`python -m tests.proof.fresh.grade_in BACKEND NOTEBOOK`: grade in this sandbox, whichever would be chosen.

Run in the environment of the project. Exit codes as `python -m grader grade` has them.
"""

import sys
from pathlib import Path

from grader import pipeline
from grader.cli.app import choose_exit_code, translate_errors
from grader.execution.setup import SandboxOptions
from grader.intake.notebook import read_submission
from grader.model import Profile
from grader.reporting.terminal import make_console, render_result
from grader.sandbox import Backend
from grader.sandbox.folders import open_temporary_folder


def main(backend: str, notebook: str) -> int:
    with (
        translate_errors(),
        open_temporary_folder("a4-fresh-") as folder,
        pipeline.open_setup(Profile.STRUCTURE, 0, SandboxOptions(Backend(backend))) as used,
    ):
        graded = pipeline.grade(read_submission(Path(notebook)), used, folder)
        make_console().print(render_result(graded.result))
        return choose_exit_code(graded)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
