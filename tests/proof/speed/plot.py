"""Seconds by stage, as a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from grader.reporting.svg import draw_svg

FEWEST_SHOWN: Final = 0.01  # of a bar; less is added up as `other`
COLOURS: Final = (*(f"C{index}" for index in range(10)), "black", "gold", "navy", "salmon", "tan")


def compute_shares(shown: Mapping[str, Mapping[str, float]]) -> dict[str, list[float]]:
    """By stage the share of each run's total, as far as it is large enough in one of them; the rest as `other`."""
    names = [name for name in dict.fromkeys(s for stages in shown.values() for s in stages) if name != "total"]
    found = {n: [max(0.0, stages.get(n, 0.0)) / stages["total"] for stages in shown.values()] for n in names}
    visible = {name: parts for name, parts in found.items() if max(parts) > FEWEST_SHOWN}
    return {**visible, "other": [max(0.0, 1 - sum(run)) for run in zip(*visible.values(), strict=True)]}


def plot(shown: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """A bar for each run, divided into its stages; shares, since runs differ by a factor of ten and more."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + 0.7 * len(shown)), layout="constrained")
    axes = figure.subplots()
    labels = [f"{name}\n{stages['total']:.0f} s" for name, stages in shown.items()]
    starts = [0.0] * len(shown)
    for colour, (name, widths) in zip(COLOURS, compute_shares(shown).items(), strict=False):
        axes.barh(labels, widths, left=starts, label=name, color=colour)
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    axes.set(xlim=(0, 1), xlabel="share of the time from the file to the reports")
    axes.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    path.write_text(draw_svg(figure, path.name), encoding="utf-8")
