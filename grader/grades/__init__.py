"""Results become grades: late policy, attempts, extensions, and changes that a person made and signed."""

from grader.grades.overrides import Override, OverrideKind, Overrides, load_overrides
from grader.grades.policy import GradingPolicy, describe, load_policy
from grader.grades.settlement import (
    find_unknown_times,
    list_students,
    list_unmatched_extensions,
    require_one_each,
    settle,
)
from grader.grades.times import add_times

__all__ = [
    "GradingPolicy",
    "Override",
    "OverrideKind",
    "Overrides",
    "add_times",
    "describe",
    "find_unknown_times",
    "list_students",
    "list_unmatched_extensions",
    "load_overrides",
    "load_policy",
    "require_one_each",
    "settle",
]
