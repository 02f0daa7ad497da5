"""Runs the hostile notebooks of tests/corpus/hostile on every backend of this machine, and says what each gained.

cases.py reads the tables; canaries.py lays out what must not be found; traces.py sees what a run leaves behind and how
much the grader grows; case_run.py runs one case and compares; rounds.py runs all of them in one backend; table.py
prints.
"""
