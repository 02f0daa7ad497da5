"""Proof that the grader's verdicts are right: mutants must be killed, variants must pass. For staff, not for students.

`corpus_run` is the command. `corpus` reads the tables in `tests/corpus`, `whole_notebooks` those of other authors;
`fork_client` runs what they describe, `fork_server` inside the process that does it; `verdicts` judges and compares
with what the tables expect; `repetition` repeats probes over seeds, `rounds` the whole corpus; `training` measures
accuracies; `ledger` keeps what took long; `figures` and `markdown` say what came of it.
"""
