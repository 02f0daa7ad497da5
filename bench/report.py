"""docs/performance.md and its plot, written from the figures alone."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bench.batches import TWO
from bench.outcome import Line

CLASS: Final = 60
SLURM_GPUS: Final = 8
# Seconds of the three methods as submitted, and of one-epoch trainings alone and eight at a time: a plain Trainer on
# one H100, float32, batches of 8 reviews of 512 tokens. Measured once, on another machine than the figures above.
H100_TRAININGS_S: Final = 33 + 15 + 25
H100_ALONE_S: Final = 22.4
H100_SHARED_S: Final = 8.4
FEWEST_SHOWN: Final = 0.01  # of a bar; less is added to what is left
COLOURS: Final = (*(f"C{index}" for index in range(10)), "black", "gold", "navy", "salmon", "tan")
QUICK: Final = ("quick-bfloat16", "quick-float32")


def write(whole: Mapping[str, Any], lines: list[Line], folder: Path) -> None:
    """Write the page, and the plot where there are stages to show. Raises OSError."""
    parts = whole["parts"]
    shown = {name: parts[name]["figures"]["stages_s"] for name in ("structure", *QUICK) if name in parts}
    if shown:
        plot(shown, folder / "performance.svg")
    text = "\n".join(line.rstrip() for line in page(whole, lines, bool(shown)))
    (folder / "performance.md").write_text(f"{text}\n", encoding="utf-8")


def page(whole: Mapping[str, Any], lines: list[Line], plotted: bool) -> Iterator[str]:
    """The page's lines."""
    parts, machine = whole["parts"], whole["machine"]
    yield from ("# Performance", "", "Written by `make bench`; not edited by hand.", "")
    yield f"Machine: {machine['processor']}, {machine['cores']} cores, GPU: {machine['gpu']}; Python "
    yield f"{machine['python']}, torch {machine['torch']}. Load (before and after each part, on all cores, that of the"
    yield f"part included): {loads(parts)}."
    yield from elsewhere(parts, machine)
    yield from ("", "## Bounds", "", "| | measured | bound | |", "|---|---|---|---|")
    yield from map(row, lines)
    if plotted:
        yield from ("", "## Where time goes", "", "![Seconds by stage](performance.svg)", "")
        yield from stages(parts)
    yield from floor(parts)
    yield from precisions(parts)
    yield from fixed(parts)
    yield from batch(parts)
    yield from growth(parts)
    yield from gpu(parts)
    yield from classes(parts)


def elsewhere(parts: Mapping[str, Any], machine: Mapping[str, Any]) -> Iterator[str]:
    """Which figures are of other machines, or of other versions."""
    for name, part in parts.items():
        other = part.get("machine", machine)
        if other != machine:
            yield f"Of another machine: {name}, {', '.join(f'{key} {value}' for key, value in other.items())}."


def loads(parts: Mapping[str, Any]) -> str:
    """How busy the machine was with each part; much above the number of cores, times say little about this program."""
    shown = (f"{name} {part['load'][0]:g} and {part['load'][1]:g}" for name, part in parts.items() if part.get("load"))
    return ", ".join(shown)


def row(line: Line) -> str:
    """One bound as a row of the table."""
    sign = "≤" if line.at_most else "≥"
    verdict = "pass" if line.holds else "**miss**"
    return f"| {line.what} | {line.value:.3g} {line.unit} | {sign} {line.bound:g} {line.unit} | {verdict} |"


def table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    """A table of plain text."""
    yield from (f"| {' | '.join(head)} |", "|" + "---|" * len(head))
    yield from (f"| {' | '.join(cells)} |" for cells in rows)


def stages(parts: Mapping[str, Any]) -> Iterator[str]:
    """Seconds by stage, a column for each run."""
    shown = [name for name in ("structure", *QUICK) if name in parts]
    names = dict.fromkeys(stage for name in shown for stage in parts[name]["figures"]["stages_s"])
    rows = [[s, *(f"{parts[n]['figures']['stages_s'].get(s, 0):.2f}" for n in shown)] for s in names]
    yield from table(["stage, s", *shown], rows)
    for name in shown:
        found = parts[name]["figures"]
        yield ""
        peak_mib = found["peak_memory_mib"]
        yield f"{name}: {found['points']} of {found['possible']} points on {found['reviews']}, in {found['precision']};"
        yield f"at most {peak_mib:.0f} MiB." if peak_mib else "memory not measured."


def floor(parts: Mapping[str, Any]) -> Iterator[str]:
    """Arithmetic beside the machine's rate."""
    found = {name: parts[name]["figures"] for name in QUICK if name in parts}
    if not found:
        return
    yield from ("", "## The floor", "")
    yield "Arithmetic is counted: six operations per weight and token that is trained, four where weights below are "
    yield "frozen (LoRA), two for the head and for evaluations, and attention. The rate is that of the largest product "
    yield "of a layer, measured with each run:"
    yield ""
    for name, figures in found.items():
        rates = figures["rates_gflops"].items()
        yield f"- {name}: {', '.join(f'{kind} {rate:.0f} GFLOP/s' for kind, rate in rates)}"
    yield ""
    rows = [
        [
            n,
            f"{f['gflop'] / 1000:.1f}",
            f"{f['floor_s']}",
            f"{f['achieved_gflops']}",
            f"{f['achieved_of_possible']:.0%}",
        ]
        for n, f in found.items()
    ]
    yield from table(["", "TFLOP", "s at the floor", "GFLOP/s achieved", "of possible"], rows)
    if "as-submitted" in parts:
        whole = parts["as-submitted"]["figures"]
        yield ""
        yield f"As submitted, the same notebook would train for {whole['total_s'] / 3600:.1f} h on this machine: "
        yield f"extrapolated from {whole['steps_measured']} measured steps of up to 512 tokens ({whole['reviews']})."


def precisions(parts: Mapping[str, Any]) -> Iterator[str]:
    """Whether float32 and bfloat16 lead to the same verdicts."""
    if "precisions" not in parts:
        return
    found = parts["precisions"]["figures"]
    yield from ("", "## Verdicts in float32 and in bfloat16", "")
    yield f"The reference, profile `quick`, {found['seeds']} seeds in both: {found['same']} with the same verdicts, "
    yield f"{found['passed']} of {2 * found['seeds']} runs with full marks. Accuracies are at most so far apart: "
    yield ", ".join(f"{method} {apart:.3f}" for method, apart in found["apart"].items()) + "."
    yield from (f"Seed {seed}: {', '.join(checks)}." for seed, checks in found["differing"].items())


def fixed(parts: Mapping[str, Any]) -> Iterator[str]:
    """What costs when nothing is trained."""
    if "fixed" not in parts:
        return
    warm, cold = (parts["fixed"]["figures"][kind] for kind in ("warm", "cold"))
    yield from ("", "## A notebook that trains nothing", "")
    rows = [["nbclient alone", f"{warm['bare_s']:.2f}"], ["graded, warm", f"{warm['stages_s']['graded']:.2f}"]]
    if "stages_s" in cold:
        rows.append(["graded, cold (bubblewrap)", f"{cold['stages_s']['graded']:.2f}"])
    peers = parts.get("peers", {"figures": {}})
    rows += [[tool, f"{figures['seconds']:.2f}"] for tool, figures in peers["figures"].items()]
    yield from table(["", "s"], rows)
    if "judging" in parts:
        found = parts["judging"]["figures"]
        yield ""
        yield f"In a batch, judging takes {found['judging_s']:.2f} s and reports {found['reports_s']:.2f} s each."


def batch(parts: Mapping[str, Any]) -> Iterator[str]:
    """Throughput by workers."""
    if "batch" not in parts:
        return
    yield from (
        "",
        "## A batch in profile `structure`",
        "",
        "From the command to the dashboard, workers' start included.",
    )
    yield ""
    found = parts["batch"]["figures"]
    rows = [
        [n, f"{f['wall_s']:.0f}", f"{f['per_submission_s']:.1f}", f"{f['peak_memory_mib']}"] for n, f in found.items()
    ]
    yield from table(["workers, with cores each", "s", "s per submission", "MiB at most, all processes"], rows)


def growth(parts: Mapping[str, Any]) -> Iterator[str]:
    """What grows with the store."""
    if "growth" not in parts:
        return
    yield from ("", "## Submissions that are stored already", "")
    keys = ("intake_s", "plan_s", "settle_s", "dashboard_s", "dashboard_mb")
    found = parts["growth"]["figures"]
    yield from table(["submissions", *keys], [[n, *(f"{f[key]:g}" for key in keys)] for n, f in found.items()])


def gpu(parts: Mapping[str, Any]) -> Iterator[str]:
    """As submitted on a GPU, or why not."""
    part = parts.get("gpu")
    if part is None:
        return
    yield from ("", "## As submitted on a GPU", "")
    if part["skipped"]:
        yield f"Not measured: {part['skipped']} `python -m bench --only gpu` measures it where there is one."
        return
    figures = {n: f for n, f in part["figures"].items() if n != "device"}
    yield from (part["figures"]["device"], "")
    rows = [[n, f"{f['wall_s']}", f"{f['per_submission_s']}"] for n, f in figures.items()]
    yield from table(["kernels at once", "s", "s per submission"], rows)


def classes(parts: Mapping[str, Any]) -> Iterator[str]:
    """What a class costs on machines of several kinds."""
    name = next((name for name in QUICK if name in parts), None)
    yield from ("", f"## What a class of {CLASS} costs", "")
    yield "Computed, not measured, from the figures above; a run with the GPU from a plain Trainer on one H100 "
    yield f"({H100_TRAININGS_S} s for the three methods, and {H100_ALONE_S / H100_SHARED_S:.1f} times the throughput "
    yield "when eight share it). Servers are taken to have cores like this machine's, two for each worker."
    yield ""
    rows = list(costs(parts[name]["figures"]["stages_s"]["total"] if name else None, parts))
    yield from table(["machine", "profile", "min", "how"], rows)


def costs(quick_s: float | None, parts: Mapping[str, Any]) -> Iterator[list[str]]:
    """Rows: machine, profile, minutes, how they were computed."""
    if "batch" in parts:
        each_s = parts["batch"]["figures"][str(TWO)]["per_submission_s"]
        yield ["laptop, 2 cores", "structure", f"{CLASS * each_s / 60:.0f}", "batch above, scaled"]
    if quick_s is not None:
        yield ["laptop, 2 cores", "quick", f"{CLASS * quick_s / 60:.0f}", f"{CLASS} × {quick_s:.0f} s"]
        yield ["server, 16 cores", "quick", f"{CLASS * quick_s / 8 / 60:.0f}", "8 workers with 2 cores each"]
    shared_s = H100_TRAININGS_S * H100_SHARED_S / H100_ALONE_S
    yield ["one GPU", "full", f"{CLASS * shared_s / 60:.0f}", "8 kernels on it"]
    yield ["Slurm, 8 GPUs", "full", f"{CLASS * shared_s / SLURM_GPUS / 60:.0f}", "8 kernels on each; queueing apart"]


def plot(shown: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """A bar for each run, divided into its stages; shares, since runs differ by a factor of ten and more."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + 0.7 * len(shown)), layout="constrained")
    axes = figure.subplots()
    names = [n for n in dict.fromkeys(s for stages in shown.values() for s in stages) if n != "total"]
    visible = [n for n in names if any(s.get(n, 0) > FEWEST_SHOWN * s["total"] for s in shown.values())]
    labels = [f"{name}\n{stages['total']:.0f} s" for name, stages in shown.items()]
    starts = [0.0] * len(shown)
    for index, name in enumerate(visible):
        widths = [max(0.0, stages.get(name, 0.0)) / stages["total"] for stages in shown.values()]
        axes.barh(labels, widths, left=starts, label=name, color=COLOURS[index % len(COLOURS)])
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    axes.set(xlim=(0, 1), xlabel="share of the time from the file to the reports")
    axes.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    with rc_context({"svg.hashsalt": path.name}):  # the same figures, the same file
        figure.savefig(path, metadata={"Date": None})
