"""Trusted recomputation: what the right answers are, and what the evidence amounts to.

Runs on the host, reads validated evidence, executes nothing of the student's.
"""
