"""Counts the cores that a process may use."""

import os


def count_cores() -> int:
    """Return the cores that this process may use: a job of Slurm or a container may have few of many."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
