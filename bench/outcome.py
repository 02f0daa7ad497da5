"""What a measurement leaves: figures, and lines that say whether a bound holds. JSON keeps both."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Line:
    """One bound. `at_most`: False where the figure has to reach the bound instead."""

    what: str
    value: float
    bound: float
    unit: str = ""
    at_most: bool = True

    @property
    def holds(self) -> bool:
        """Whether the figure is on the right side."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def __str__(self) -> str:
        """For people."""
        sign, unit = "≤" if self.at_most else "≥", f" {self.unit}" if self.unit else ""
        return f"{'pass' if self.holds else 'MISS'}  {self.what}: {self.value:.3g}{unit} ({sign} {self.bound:g}{unit})"


@dataclass(frozen=True)
class Part:
    """What one part of the benchmark found. `figures` are plain data; `skipped` says why there are none."""

    name: str
    figures: dict[str, Any] = field(default_factory=dict)
    lines: tuple[Line, ...] = ()
    skipped: str = ""
    load: tuple[float, float] = (0.0, 0.0)  # processes that wanted to run, before and after; with our own


def medians(rounds: int, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Median of each figure over some rounds."""
    return median_of([measure() for _ in range(rounds)])


def median_of(seen: list[dict[str, float]]) -> dict[str, float]:
    """Median of each figure that all have."""
    return {name: round(statistics.median(one[name] for one in seen), 3) for name in seen[0]}


def machine() -> dict[str, Any]:
    """Which machine the figures belong to."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def load_average() -> float:
    """Processes that wanted to run in the last minute; 0 where the system does not tell."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else 0.0


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def save(found: Iterable[Part], path: Path) -> dict[str, Any]:
    """Add parts to a file of figures; those that it has are replaced. Raises OSError."""
    known = load(path)
    here = machine()
    parts = {**known.get("parts", {}), **{part.name: {**asdict(part), "machine": here} for part in found}}
    whole = {"machine": known.get("machine") or here, "parts": parts}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return whole


def load(path: Path) -> dict[str, Any]:
    """What was measured before; nothing where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def lines(part: dict[str, Any]) -> list[Line]:
    """The lines of a part that was loaded."""
    return [Line(**line) for line in part["lines"]]
