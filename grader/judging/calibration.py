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
    """What one method has to reach."""

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


def compute_threshold(accuracies: Sequence[float], false_fail: float = FALSE_FAIL) -> Threshold:
    """The bound below which the next honest run falls with probability `false_fail`."""
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
    """All calibrations of a file; none when it does not exist. Raises GraderError when it is broken."""
    if not path.is_file():
        return ()
    try:
        return TypeAdapter(tuple[Calibration, ...]).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise GraderError(f"{path} is not a calibration file; restore it, or run `make calibrate`.") from error


def save(path: Path, calibrations: Sequence[Calibration]) -> None:
    """Write all calibrations, in an order that makes small diffs."""
    ordered = sorted(calibrations, key=lambda c: c.name)
    path.write_text(json.dumps([c.model_dump(mode="json") for c in ordered], indent=1) + "\n", encoding="utf-8")


def find(
    calibrations: Sequence[Calibration], profile: Profile, budget: str, checkpoint_sha256: str, reviews_sha256: str
) -> Calibration | None:
    """The calibration for these circumstances, or None: thresholds are never guessed."""
    wanted = (profile, budget, checkpoint_sha256, reviews_sha256)
    return next(
        (c for c in calibrations if (c.profile, c.budget, c.checkpoint_sha256, c.reviews_sha256) == wanted), None
    )


def merge(old: Sequence[Calibration], new: Calibration) -> tuple[Calibration, ...]:
    """`old` with `new` in place of the one for the same circumstances."""
    key = (new.profile, new.budget, new.checkpoint_sha256, new.reviews_sha256)
    kept = [c for c in old if (c.profile, c.budget, c.checkpoint_sha256, c.reviews_sha256) != key]
    return (*kept, new)


def list_warnings(methods: Mapping[Method, Threshold]) -> list[str]:
    """What a person should know before committing a calibration."""
    return [
        f"{m.value}: the threshold {t.threshold:.3f} is no better than chance"
        for m, t in methods.items()
        if t.threshold <= CHANCE
    ]
