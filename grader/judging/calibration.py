"""Accuracy thresholds that were measured, not typed in.

`make calibrate` runs the reference over several seeds. The accuracies of further honest runs are assumed to be drawn
from the same normal distribution; a threshold is the one-sided prediction bound for the next run,
mean − t(n−1, 1−p) · s · sqrt(1 + 1/n) (Hahn and Meeker 1991, section 4.7), below which it falls with probability p.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, TypeAdapter, ValidationError

from grader.errors import GraderError
from grader.model import FrozenModel, Method, Profile

FALSE_FAIL: Final = 0.001
MIN_SEEDS: Final = 5
# 500 reviews measure a share to 0.02 (one binomial standard error at 0.7); seeds cannot vary less than that in truth,
# so a lucky small deviation of few seeds is not believed below a quarter of it.
MIN_DEVIATION: Final = 0.005
CHANCE: Final = 0.5


class Threshold(FrozenModel):
    """The accuracy that one method has to reach, and the measurements behind it."""

    accuracies: tuple[float, ...]
    mean: float
    deviation: float
    threshold: float


class Calibration(FrozenModel):
    """Thresholds for one combination of profile, budget, checkpoint and reviews."""

    name: str
    profile: Profile
    budget: str
    checkpoint: str
    checkpoint_sha256: str
    reviews: str
    reviews_sha256: str
    precision: str
    seeds: tuple[int, ...]
    false_fail: float
    methods: Annotated[dict[Method, Threshold], Field(min_length=len(Method))]

    @property
    def conditions(self) -> tuple[Profile, str, str, str]:
        """The conditions that the thresholds hold for: the same tuple as the arguments of `find`."""
        return self.profile, self.budget, self.checkpoint_sha256, self.reviews_sha256


def compute_threshold(accuracies: Sequence[float], false_fail: float = FALSE_FAIL) -> Threshold:
    """Compute the bound below which the next honest run falls with probability `false_fail`."""
    from scipy.stats import t

    n = len(accuracies)
    if n < MIN_SEEDS:
        raise GraderError(f"A calibration needs at least {MIN_SEEDS} seeds; got {n}.")
    mean = statistics.fmean(accuracies)
    deviation = max(statistics.stdev(accuracies), MIN_DEVIATION)
    bound = mean - float(t.ppf(1 - false_fail, n - 1)) * deviation * math.sqrt(1 + 1 / n)
    return Threshold(
        accuracies=tuple(accuracies), mean=round(mean, 4), deviation=round(deviation, 4), threshold=round(bound, 4)
    )


def load(path: Path) -> tuple[Calibration, ...]:
    """Return all calibrations of a file; none when it does not exist. Raises GraderError when it is broken."""
    if not path.is_file():
        return ()
    try:
        return TypeAdapter(tuple[Calibration, ...]).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise GraderError(f"{path} is not a calibration file; restore it, or run `make calibrate`.") from error


def save(path: Path, calibrations: Sequence[Calibration]) -> None:
    """Write all calibrations, in an order that makes small diffs."""
    ordered = [c.model_dump(mode="json") for c in sorted(calibrations, key=lambda c: c.name)]
    path.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


def find(
    calibrations: Sequence[Calibration], profile: Profile, budget: str, checkpoint_sha256: str, reviews_sha256: str
) -> Calibration | None:
    """Return the calibration for these conditions, or None: thresholds are never guessed."""
    wanted = (profile, budget, checkpoint_sha256, reviews_sha256)
    return next((c for c in calibrations if c.conditions == wanted), None)


def merge(old: Sequence[Calibration], new: Calibration) -> tuple[Calibration, ...]:
    """Replace the calibration in `old` that is for the same conditions by `new`."""
    return (*(c for c in old if c.conditions != new.conditions), new)


def list_warnings(methods: Mapping[Method, Threshold]) -> list[str]:
    """Return a sentence for each threshold that nobody should use."""
    return [
        f"{m.value}: the threshold {t.threshold:.3f} is no better than chance"
        for m, t in methods.items()
        if t.threshold <= CHANCE
    ]
