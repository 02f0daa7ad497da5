"""Autograder for the assignment "Comparing fine-tuning methods"."""

__version__ = "0.1.0"
