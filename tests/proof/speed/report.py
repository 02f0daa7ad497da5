"""docs/performance.md, a summary written from the figures alone."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from grader.batch.store import write as write_whole
from grader.paths import MEASURED
from tests.proof.speed.batches import BOTH, TWO
from tests.proof.speed.classes import CLASS, H100_ALONE_S, H100_SHARED_S, H100_TRAININGS_S, list_costs
from tests.proof.speed.outcome import BoundLine, find_kept_since
from tests.proof.speed.plot import plot

QUICK: Final = ("quick-bfloat16", "quick-float32")
NAME: Final = "performance"
EARLIER: Final = MEASURED / f"{NAME}.jsonl"
SHOWN: Final = 0.03  # of a run's time; stages that take less are added up
OLD: Final = " †"
Parts = Mapping[str, Any]


def write(parts: Parts, lines: Sequence[BoundLine], page: Path, figures: Path) -> None:
    """Write the page, and beside the figures the plot, where there are stages to show. Raises OSError."""
    shown = {name: found["stages_s"] for name, found in find_runs(parts).items()}
    if shown:
        plot(shown, figures.with_name(f"{NAME}.svg"))
    write_whole(page, ("\n".join(line.rstrip() for line in render_page(parts, lines)) + "\n").encode())


def find_runs(parts: Parts) -> dict[str, Mapping[str, Any]]:
    """The runs of the reference, as far as they were measured."""
    return {name: parts[name]["figures"] for name in ("structure", *QUICK) if name in parts}


def render_page(parts: Parts, lines: Iterable[BoundLine]) -> Iterator[str]:
    """The page's lines."""
    yield from ("# Performance", "")
    yield (
        "Written by `make bench`; not edited by hand. The figures that it follows from, and a plot, are then in "
        f"`results/speed/{NAME}.json` and `.svg`."
    )
    yield ""
    yield from _render_conditions(parts)
    yield from ("", "## Bounds")
    yield from _format_table(["", "measured", "bound", ""], map(_format_row, lines))
    for section in (_render_classes, _render_stages, _render_floor):
        yield from section(parts)
    yield from ("", "## Further figures", "")
    for name, further in FURTHER.items():
        if name in parts:
            yield from further(parts)
    yield from map(render_before, read_earlier(EARLIER))


def _render_conditions(parts: Parts) -> Iterator[str]:
    machines: list[Mapping[str, Any]] = [part["machine"] for part in parts.values()]
    usual = max(machines, key=machines.count)
    yield (
        f"Machine: {usual['processor']}, {usual['cores']} cores, {usual['memory_gib']} GiB, GPU: {usual['gpu']}; "
        f"Python {usual['python']}, torch {usual['torch']}. Load average before each part: at most "
        f"{max(part['load'][0] for part in parts.values()):g}."
    )
    elsewhere = [name for name, part in parts.items() if part["machine"] != usual]
    if elsewhere:
        yield f"Measured on another machine: {', '.join(elsewhere)}."
    old = {name: since for name, part in parts.items() if (since := find_kept_since(part))}
    if old:
        days = " to ".join(dict.fromkeys((min(old.values()), max(old.values()))))
        what = "all figures of this page" if len(old) == len(parts) else f"{', '.join(old)} (bounds marked{OLD})"
        yield f"**Measured on older code, that of {days}:** {what}. `make bench` measures again, in 40 minutes."


def _format_row(line: BoundLine) -> list[str]:
    sign = "≤" if line.at_most else "≥"
    verdict = ("pass" if line.holds else "**miss**") + (OLD if line.kept else "")
    return [line.what, f"{line.value:.3g} {line.unit}", f"{sign} {line.bound:g} {line.unit}", verdict]


def _format_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield from ("", f"| {' | '.join(head)} |", "|" + "---|" * len(head))
    yield from (f"| {' | '.join(cell.strip() for cell in cells)} |" for cells in rows)


def _render_classes(parts: Parts) -> Iterator[str]:
    found = list(list_costs(parts))
    if not found:
        return
    yield from ("", f"## What a class of {CLASS} costs", "")
    yield (
        "Computed, for cores like this machine's. What is said of GPUs follows, unless measured below, from a plain "
        f"Trainer on one H100: {H100_TRAININGS_S} s for the three methods in float32, and "
        f"{H100_ALONE_S / H100_SHARED_S:.1f} times the throughput when eight share it. Waiting for Slurm is left out."
    )
    rows = ([c.machine, c.profile, f"{c.minutes:.0f}", c.how] for c in found)
    yield from _format_table(["machine", "profile", "minutes", "how"], rows)


def _render_stages(parts: Parts) -> Iterator[str]:
    runs = find_runs(parts)
    if not runs:
        return
    yield from ("", "## Where time goes")
    times = [run["stages_s"] for run in runs.values()]
    names = [name for name in dict.fromkeys(n for t in times for n in t) if name != "total"]
    long = [n for n in names if n != "rest" and any(t.get(n, 0) > SHOWN * t["total"] for t in times)]
    rows = [[name, *(f"{t.get(name, 0):.1f}" for t in times)] for name in long]
    rows += [["rest", *(f"{sum(t.get(n, 0) for n in names if n not in long):.1f}" for t in times)]]
    rows += [["total", *(f"{t['total']:.1f}" for t in times)]]
    rows += [["judged again", *(f"{run['judged_again_s']:.2f}" for run in runs.values())]]
    rows += [["MiB at most", *(f"{run['peak_memory_mib']:.0f}" for run in runs.values())]]
    rows += [["points", *(f"{run['points']:g} of {run['possible']:g}" for run in runs.values())]]
    yield from _format_table(["seconds", *(f"{name}, {run['reviews']}" for name, run in runs.items())], rows)


def _render_floor(parts: Parts) -> Iterator[str]:
    found = {name: parts[name]["figures"] for name in QUICK if name in parts}
    if not found:
        return
    yield from ("", "## The floor", "")
    yield (
        "Arithmetic is counted, the rate is that of the largest product of a layer, measured with each run: together "
        "they decide whether a bound in seconds can hold at all."
    )
    head = ["", "GFLOP/s of this machine", "TFLOP", "s at the floor", "of the whole time", "achieved of possible"]
    rows = []
    for name, one in found.items():
        rates = ", ".join(f"{kind} {rate:.0f}" for kind, rate in one["rates_gflops"].items())
        of_all = f"{one['floor_s'] / one['stages_s']['total']:.0%}"
        of_possible = f"{one['achieved_of_possible']:.0%}"
        rows.append([name, rates, f"{one['gflop'] / 1000:.1f}", f"{one['floor_s']}", of_all, of_possible])
    yield from _format_table(head, rows)
    if "as-submitted" in parts:
        whole = parts["as-submitted"]["figures"]
        yield ""
        yield (
            f"As submitted, in float32, the same notebook would train for {whole['total_s'] / 3600:.1f} h here: "
            f"extrapolated from {whole['steps_measured']} measured steps of up to 512 tokens ({whole['reviews']})."
        )


def _render_precisions(parts: Parts) -> Iterator[str]:
    found = parts["precisions"]["figures"]
    apart = ", ".join(f"{method} {difference:.3f}" for method, difference in found["apart"].items())
    differing = "".join(f" Seed {seed}: {', '.join(checks)}." for seed, checks in found["differing"].items())
    yield (
        f"- float32 and bfloat16, {found['reviews']}: {found['same']} of {found['seeds']} seeds agree, "
        f"{found['passed']} of {2 * found['seeds']} runs with full marks. Accuracies are at most so far apart: "
        f"{apart}.{differing}"
    )


def _render_fixed(parts: Parts) -> Iterator[str]:
    warm, cold = (parts["fixed"]["figures"][kind] for kind in ("warm", "cold"))
    found = {"graded, warm": (warm["stages_s"]["graded"], warm["stages_s"]["bare"])}
    if "stages_s" in cold:
        found["graded, cold (bubblewrap)"] = (cold["stages_s"]["graded"], cold["stages_s"]["bare"])
    peers = parts.get("peers", {"figures": {}})["figures"]
    found |= {tool: (figures["seconds"], figures["bare_s"]) for tool, figures in peers.items()}
    yield (
        "- A notebook that trains nothing, in seconds, and of what nbclient takes that runs it and grades nothing: "
        f"{'; '.join(f'{name} {took:.2f} ({took / bare:.0%})' for name, (took, bare) in found.items())}."
    )
    if "skipped" in cold:
        yield f"  Cold: not measured. {cold['skipped']}"


def _render_batch(parts: Parts) -> Iterator[str]:
    found = parts["batch"]["figures"]
    staff, gains = found["staff"], ", ".join(f"{gain:.2f}" for gain in found["gains"])
    times = "; ".join(f"{n}: {f['wall_s']:.0f} s, {f['peak_memory_mib']} MiB at most" for n, f in staff.items())
    both = staff[str(BOTH)]["wall_s"] / staff[str(TWO)]["wall_s"]
    yield (
        f"- A batch of {found['size']} in `structure`, by workers and cores of each: {times}. "
        f"Two with a core are {gains} times as fast as one with a core, {both:.2f} times as one with both."
    )
    if "judging" in parts:
        found = parts["judging"]["figures"]
        yield f"- In a batch judging takes {found['judging_s']:.2f} s, and reports {found['reports_s']:.2f} s, each."


def _render_growth(parts: Parts) -> Iterator[str]:
    size, found = max(parts["growth"]["figures"].items(), key=lambda item: int(item[0]))
    yield (
        f"- {size} submissions that are graded already: intake {found['intake_s']:g} s, plan {found['plan_s']:g} s, "
        f"dashboard {found['dashboard_s']:g} s ({found['dashboard_mb']:g} MB), "
        f"handing out {found['hand_out_s']:g} s."
    )


def _render_gpu(parts: Parts) -> Iterator[str]:
    part = parts["gpu"]
    if part["skipped"]:
        yield f"- As submitted on a GPU: not measured. {part['skipped']} `make bench ONLY=gpu` measures it."
        return
    yield f"- As submitted on {part['figures']['device']}: {'; '.join(map(_format_gpu, part['figures']['batches']))}."


def _format_gpu(found: Mapping[str, Any]) -> str:
    one = found["one"]
    trained = " + ".join(f"{seconds or 0:.0f}" for seconds in one["train_s"].values())
    precision = ", TF32" if found["precision"] == "tf32" else ""
    times = f"{found['per_submission_s']} s each (training {trained} s, judging {one['judging_s']:.0f} s"
    return f"{found['kernels']} at once{precision}: {times}, {one['points']:g} points)"


FURTHER: Final[Mapping[str, Callable[[Parts], Iterator[str]]]] = {
    "precisions": _render_precisions, "fixed": _render_fixed, "batch": _render_batch, "growth": _render_growth,
    "gpu": _render_gpu,
}  # fmt: skip


def read_earlier(path: Path) -> Iterator[Mapping[str, Any]]:
    """Runs of earlier days that are worth remembering, one JSON line each; none where there is no file."""
    if path.is_file():
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def render_before(run: Mapping[str, Any]) -> str:
    """Seconds of `quick` on another machine, and its rate of multiplication: half the rate is twice the time."""
    machine, rates = run["machine"], run["rates_gflops"].items()
    quick = [line for line in run["lines"] if line["unit"] == "s" and "quick" in line["what"]]
    times = [f"{line['what']} {line['value']:.0f} s" for line in quick]
    return (
        f"- On another machine, with the code of {run['measured']}: {', '.join(times)}; {machine['processor']}, "
        f"{machine['cores']} cores, {', '.join(f'{kind} {rate:.0f} GFLOP/s' for kind, rate in rates)}."
    )
