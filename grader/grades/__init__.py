"""Results become grades: late policy, attempts, extensions, and changes that a person made and signed."""

from grader.grades.overrides import Override, OverrideKind, Overrides, load_overrides
from grader.grades.policy import Policy, described, load_policy
from grader.grades.settlement import (
    require_one_each,
    settle,
    students,
    unknown_times,
    unmatched_extensions,
)
from grader.grades.times import with_times

__all__ = [
    "Override",
    "OverrideKind",
    "Overrides",
    "Policy",
    "described",
    "load_overrides",
    "load_policy",
    "require_one_each",
    "settle",
    "students",
    "unknown_times",
    "unmatched_extensions",
    "with_times",
]
