"""Trusted recomputation of the right answers. Reads validated evidence and executes nothing of the student's."""
