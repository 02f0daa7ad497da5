"""The two kinds of failure. Everything else that a submission does wrong is data, not an exception."""


class SubmissionError(Exception):
    """Theirs: the upload cannot be graded as handed in. The message is one sentence for its author. Exit code 1."""


class GraderError(Exception):
    """Ours: the grader or its set-up is at fault. The message says what to do about it. Exit code 2."""
