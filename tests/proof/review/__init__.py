"""Measures the review page on a large class made of copies of a few real results.

    python -m tests.proof.review results/submissions --students 1000

The folder named is that of a graded class. The copies differ from it in ids and names only; files are hard links where
the file system has them.
"""
