"""How many cores there are for us."""

import os


def count_cores() -> int:
    """Cores that this process may use: a job of Slurm or a container may have few of many."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
