"""Proof that the grader's verdicts are right: mutants must be killed, variants must pass. For staff, not for students.

`validating` is the command. `corpus` reads the tables in `tests/corpus`; `nursery` runs what they describe, `branches`
inside the process that does it; `verdicts` judges and compares with what the tables expect; `repetition` repeats probes
over seeds, `rounds` the whole corpus; `training` measures accuracies; `habits` reads whole notebooks of other authors;
`ledger` keeps what took long; `figures`, `markdown` and `page` say what came of it.
"""
