"""From a path to a `Submission`: locating and parsing, without executing anything."""

from grader.intake.notebook import Submission, read_submission

__all__ = ["Submission", "read_submission"]
