"""performance.md, written from the figures alone."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
Parts = Mapping[str, Any]


def write(parts: Parts, lines: Iterable[BoundLine], folder: Path) -> None:
    """Write the page, and the plot where there are stages to show. Raises OSError."""
    shown = {name: parts[name]["figures"]["stages_s"] for name in ("structure", *QUICK) if name in parts}
    if shown:
        plot(shown, folder / f"{NAME}.svg")
    text = "\n".join(line.rstrip() for line in render_page(parts, lines))
    write_whole(folder / f"{NAME}.md", f"{text}\n".encode())


def render_page(parts: Parts, lines: Iterable[BoundLine]) -> Iterator[str]:
    """The page's lines."""
    machine = find_usual_machine(parts)
    yield from ("# Performance", "", "Written by `make bench`; not edited by hand.", "")
    yield f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
    yield f"GPU: {machine['gpu']}; Python {machine['python']}, torch {machine['torch']}."
    yield from ("", "## Bounds", "")
    yield from format_table(["", "measured", "bound", ""], map(format_row, lines))
    for section in (
        render_classes,
        render_stages,
        render_floor,
        render_precisions,
        render_fixed,
        render_batch,
        render_growth,
        render_gpu,
    ):
        yield from section(parts)
    yield from render_conditions(parts, machine)
    for run in render_earlier(EARLIER):
        yield from render_before(run)


def render_earlier(path: Path) -> Iterator[Mapping[str, Any]]:
    """Runs of earlier days that are worth remembering, one JSON line each; none where there is no file."""
    if path.is_file():
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def render_before(run: Mapping[str, Any]) -> Iterator[str]:
    """The bounds on another machine, and how fast that one multiplies: half the rate is twice the time."""
    machine, rates = run["machine"], run["rates_gflops"].items()
    yield from ("", f"## On another machine, {run['measured']}", "")
    yield f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}; "
    yield f"{', '.join(f'{kind} {rate:.0f} GFLOP/s' for kind, rate in rates)}. Code and measures of that day."
    yield ""
    yield from format_table(["", "measured", "bound", ""], (format_row(BoundLine(**line)) for line in run["lines"]))


def format_row(line: BoundLine) -> list[str]:
    """One bound as a row of the table."""
    sign = "≤" if line.at_most else "≥"
    verdict = "pass" if line.holds else "**miss**"
    verdict += f", of {line.kept}, other code" if line.kept else ""
    return [line.what, f"{line.value:.3g} {line.unit}", f"{sign} {line.bound:g} {line.unit}", verdict]


def format_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table of plain text."""
    yield from (f"| {' | '.join(head)} |", "|" + "---|" * len(head))
    yield from (f"| {' | '.join(cell.strip() for cell in cells)} |" for cells in rows)


def render_classes(parts: Parts) -> Iterator[str]:
    """What a class costs on machines of several kinds."""
    found = list(list_costs(parts))
    if not found:
        return
    yield from ("", f"## What a class of {CLASS} costs", "")
    yield "Computed from the figures below, for cores like this machine's. What is said of GPUs follows, unless "
    yield f"measured below, from a plain Trainer on one H100: {H100_TRAININGS_S} s for the three methods in float32, "
    yield f"and {H100_ALONE_S / H100_SHARED_S:.1f} times the throughput when eight share it. Waiting for Slurm is left "
    yield "out."
    yield ""
    yield from format_table(
        ["machine", "profile", "minutes", "how"], ([c.machine, c.profile, f"{c.minutes:.0f}", c.how] for c in found)
    )


def render_stages(parts: Parts) -> Iterator[str]:
    """Seconds by stage, a column for each run."""
    shown = {name: parts[name]["figures"] for name in ("structure", *QUICK) if name in parts}
    if not shown:
        return
    yield from ("", "## Where time goes", "", f"![Share of the time by stage]({NAME}.svg)", "")
    names = dict.fromkeys(stage for figures in shown.values() for stage in figures["stages_s"])
    yield from format_table(
        ["stage, s", *shown], ([s, *(f"{f['stages_s'].get(s, 0):.2f}" for f in shown.values())] for s in names)
    )
    for name, found in shown.items():
        yield ""
        yield f"{name}: {found['points']} of {found['possible']} points on {found['reviews']}, in "
        yield f"{found['precision']}; {format_memory(found['peak_memory_mib'])}. "
        yield f"Judging the stored evidence again takes {found['judged_again_s']:.2f} s."


def format_memory(peak_mib: float) -> str:
    """The most memory that a run was seen to take."""
    return f"at most {peak_mib:.0f} MiB, looked at every two seconds" if peak_mib else "memory not measured"


def render_floor(parts: Parts) -> Iterator[str]:
    """Arithmetic beside the machine's rate."""
    found = {name: parts[name]["figures"] for name in QUICK if name in parts}
    if not found:
        return
    yield from ("", "## The floor", "")
    yield "Arithmetic is counted: six operations per weight and token that is trained, four where weights below are "
    yield "frozen (LoRA), two for the head and for evaluations, and attention, for batches as long as these reviews "
    yield "make them. The rate is that of the largest product of a layer, measured with each run. It decides "
    yield "before anything else whether a bound in seconds can hold:"
    yield ""
    for name, figures in found.items():
        rates = figures["rates_gflops"].items()
        yield f"- {name}: {', '.join(f'{kind} {rate:.0f} GFLOP/s' for kind, rate in rates)}"
    yield ""
    head = [
        "",
        "tokens",
        "TFLOP",
        "s at the floor",
        "of the whole time",
        "GFLOP/s achieved in steps and evaluations",
        "of possible",
    ]
    yield from format_table(head, (format_floor_row(name, figures) for name, figures in found.items()))
    yield from render_as_submitted(parts)


def format_floor_row(name: str, figures: Mapping[str, Any]) -> list[str]:
    """One run beside its floor."""
    return [
        name,
        f"{figures['padded_tokens']:.0f}",
        f"{figures['gflop'] / 1000:.1f}",
        f"{figures['floor_s']}",
        f"{figures['floor_s'] / figures['stages_s']['total']:.0%}",
        f"{figures['achieved_gflops']}",
        f"{figures['achieved_of_possible']:.0%}",
    ]


def render_as_submitted(parts: Parts) -> Iterator[str]:
    """What the notebook would take without a budget."""
    if "as-submitted" not in parts:
        return
    whole = parts["as-submitted"]["figures"]
    yield ""
    yield f"As submitted, in float32, the same notebook would train for {whole['total_s'] / 3600:.1f} h here: "
    yield f"extrapolated from {whole['steps_measured']} measured steps of up to 512 tokens ({whole['reviews']})."


def render_precisions(parts: Parts) -> Iterator[str]:
    """Whether float32 and bfloat16 lead to the same verdicts."""
    if "precisions" not in parts:
        return
    found = parts["precisions"]["figures"]
    yield from ("", "## Verdicts in float32 and in bfloat16", "")
    yield f"The reference, profile `quick`, {found['seeds']} seeds in both, {found['reviews']}: {found['same']} with "
    yield f"the same verdicts, {found['passed']} of {2 * found['seeds']} runs with full marks. "
    apart = ", ".join(f"{method} {difference:.3f}" for method, difference in found["apart"].items())
    yield f"Accuracies are at most so far apart: {apart}."
    yield from (f"Seed {seed}: {', '.join(checks)}." for seed, checks in found["differing"].items())


def render_fixed(parts: Parts) -> Iterator[str]:
    """What costs when nothing is trained."""
    if "fixed" not in parts:
        return
    warm, cold = (parts["fixed"]["figures"][kind] for kind in ("warm", "cold"))
    yield from ("", "## A notebook that trains nothing", "")
    yield "The same notebook in turns with nbclient alone, which runs it and grades nothing. The other tools are asked "
    yield "for one test."
    yield ""
    rows = [format_beside("graded, warm", warm["stages_s"]["graded"], warm["stages_s"]["bare"])]
    if "stages_s" in cold:
        rows.append(format_beside("graded, cold (bubblewrap)", cold["stages_s"]["graded"], cold["stages_s"]["bare"]))
    peers = parts.get("peers", {"figures": {}})["figures"]
    rows += [format_beside(tool, figures["seconds"], figures["bare_s"]) for tool, figures in peers.items()]
    yield from format_table(["", "s", "nbclient alone, s", "ratio"], rows)
    yield from (f"\nCold: not measured. {cold['skipped']}" for _ in "." if "skipped" in cold)
    if "judging" in parts:
        found = parts["judging"]["figures"]
        yield ""
        yield f"In a batch in profile `structure`, judging takes {found['judging_s']:.2f} s and reports "
        yield f"{found['reports_s']:.2f} s each."


def format_beside(name: str, seconds: float, bare_s: float) -> list[str]:
    """A row of two times and their ratio."""
    return [name, f"{seconds:.2f}", f"{bare_s:.2f}", f"{seconds / bare_s:.2f}"]


def render_batch(parts: Parts) -> Iterator[str]:
    """Throughput by workers."""
    if "batch" not in parts:
        return
    found = parts["batch"]["figures"]
    staff = found["staff"]
    yield from ("", f"## A batch of {found['size']} in profile `structure`", "")
    yield "From the command to the dashboard, workers' start included; medians. Memory is that of all processes "
    yield "together, looked at every five seconds."
    yield ""
    rows = (
        [n, f"{f['runs']}", f"{f['wall_s']:.0f}", f"{f['per_submission_s']:.1f}", f"{f['peak_memory_mib']}"]
        for n, f in staff.items()
    )
    yield from format_table(["workers, with cores each", "runs", "s", "s per submission", "MiB at most"], rows)
    yield ""
    gains, both = found["gains"], staff[str(BOTH)]["wall_s"] / staff[str(TWO)]["wall_s"]
    yield f"Two workers with a core each are {', '.join(f'{gain:.2f}' for gain in gains)} times as fast as one with a "
    yield f"core, in runs that take turns, and {both:.2f} times as fast as one with both cores."


def render_growth(parts: Parts) -> Iterator[str]:
    """What grows with the store."""
    if "growth" not in parts:
        return
    yield from ("", "## Submissions that are graded already", "")
    yield "Taking the archive in again, finding that nothing is left to do, the dashboard with similar code, and "
    yield "everything that is handed out, dashboard included; the class is made of the corpus."
    yield ""
    head = ["submissions", "intake, s", "plan, s", "dashboard, s", "dashboard, MB", "handing out, s"]
    keys = ("intake_s", "plan_s", "dashboard_s", "dashboard_mb", "hand_out_s")
    found = parts["growth"]["figures"]
    yield from format_table(head, ([n, *(f"{f[key]:g}" for key in keys)] for n, f in found.items()))


def render_gpu(parts: Parts) -> Iterator[str]:
    """As submitted on a GPU, or why not."""
    part = parts.get("gpu")
    if part is None:
        return
    yield from ("", "## As submitted on a GPU", "")
    if part["skipped"]:
        yield f"Not measured: {part['skipped']} `python -m tests.proof.speed --only gpu` measures it on a GPU."
        return
    yield from (part["figures"]["device"], "")
    head = [
        "kernels at once",
        "precision",
        "s",
        "s per submission",
        "training of one, s",
        "judging of one, s",
        "points",
    ]
    yield from format_table(head, map(format_gpu_row, part["figures"]["batches"]))


def format_gpu_row(found: Mapping[str, Any]) -> list[str]:
    """One batch on the GPU."""
    one = found["one"]
    trained = " + ".join(f"{seconds or 0:.0f}" for seconds in one["train_s"].values())
    times = [f"{found['wall_s']}", f"{found['per_submission_s']}", trained, f"{one['judging_s']:.0f}"]
    precision = "TF32" if found["precision"] == "tf32" else "as submitted"
    return [str(found["kernels"]), precision, *times, f"{one['points']}"]


def render_conditions(parts: Parts, machine: Mapping[str, Any]) -> Iterator[str]:
    """When each part was measured, with which code, where, and how busy the machine was."""
    yield from ("", "## When this was measured", "")
    yield "Load counts processes that wanted to run in the last minute, the part's own among them. Much above the "
    yield "number of cores before a part, its times say little about this program."
    yield ""
    rows = (
        [name, part["measured"], *(f"{load:g}" for load in part["load"]), list_differences(part, machine)]
        for name, part in parts.items()
    )
    yield from format_table(["part", "day", "load before", "load after", "differs from the page in"], rows)


def find_usual_machine(parts: Parts) -> Mapping[str, Any]:
    """The machine that most parts were measured on."""
    machines: list[Mapping[str, Any]] = [part["machine"] for part in parts.values()]
    return max(machines, key=machines.count)


def list_differences(part: Mapping[str, Any], machine: Mapping[str, Any]) -> str:
    """What a part does not share with this page: code that has changed since, facts of another machine."""
    found = [f"{key} {value}" for key, value in part["machine"].items() if value != machine[key]]
    return ", ".join((["code"] if find_kept_since(part) else []) + found)
