"""The result of a measurement: figures, and lines that say whether a bound holds. JSON keeps both."""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from grader.batch.store import write
from grader.errors import GraderError
from grader.paths import ROOT
from tests.proof.speed import machine

FIGURES: Final = ROOT / "results" / "speed" / "performance.json"

T = TypeVar("T")


@dataclass(frozen=True)
class BoundLine:
    """One bound. `at_most`: False where the figure has to reach the bound instead."""

    what: str
    value: float
    bound: float
    unit: str = ""
    at_most: bool = True
    kept: str = ""  # since when, where it was measured with other code than today's

    @property
    def holds(self) -> bool:
        """True where the figure is on the right side."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def __str__(self) -> str:
        """For people."""
        sign, unit = "≤" if self.at_most else "≥", f" {self.unit}" if self.unit else ""
        text = f"{'pass' if self.holds else 'MISS'}  {self.what}: {self.value:.3g}{unit} ({sign} {self.bound:g}{unit})"
        return f"{text}, of {self.kept}, other code" if self.kept else text


@dataclass(frozen=True)
class Part:
    """The result of one part of the benchmark. `figures` are plain data; `skipped` says why there are none."""

    name: str
    figures: dict[str, Any] = field(default_factory=dict)
    lines: tuple[BoundLine, ...] = ()
    skipped: str = ""
    load: tuple[float, float] = (0.0, 0.0)  # processes that wanted to run, before and after; with our own
    measured: str = ""  # the day, and
    code: str = ""  # digest of the code: of today unless the part says otherwise


def measure_time(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what came of it."""
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def compute_medians(seen: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Median of each figure that all have."""
    return {name: round(statistics.median(one[name] for one in seen), 3) for name in seen[0]}


def format_today() -> str:
    """The day, as it stands in figures."""
    return datetime.now(UTC).date().isoformat()


def save(part: Part, path: Path) -> None:
    """Add a part to a file of figures, in the place of the one that it has, unless that one was measured and this not.

    Raises OSError, GraderError.
    """
    parts = load(path)
    if part.skipped and parts.get(part.name, {}).get("figures"):
        return
    stamped = replace(part, measured=part.measured or format_today(), code=part.code or machine.digest_code())
    parts[part.name] = {**asdict(stamped), "machine": machine.collect_facts()}
    write(path, (json.dumps({"parts": parts}, indent=1, ensure_ascii=False) + "\n").encode())


def load(path: Path) -> dict[str, Any]:
    """Parts by name that were measured before; none where there is no file. Raises GraderError where it is damaged."""
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["parts"])
    except (ValueError, KeyError, TypeError) as error:
        said = f"{path} holds no figures of this benchmark; remove it, or name another with --out."
        raise GraderError(said) from error


def collect_lines(parts: Iterable[Mapping[str, Any]]) -> list[BoundLine]:
    """The lines of parts that were loaded; they say so where they are of other code."""
    return [replace(BoundLine(**line), kept=find_kept_since(part)) for part in parts for line in part["lines"]]


def find_kept_since(part: Mapping[str, Any]) -> str:
    """The day that a part is kept since, if the code has changed since; otherwise nothing."""
    return "" if part["code"] == machine.digest_code() else part["measured"]
