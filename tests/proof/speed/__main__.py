"""`make bench` runs this: what grading costs, and which bounds hold.

Figures are kept in results/speed/performance.json (or --out) and added to, so that parts can be measured one after the
other; a part that fails is named, and the others are measured all the same. `--report` writes docs/performance.md (with
--out, performance.md beside that file) from them, and a plot beside the figures. Exit codes: 0 every bound holds, 1 one
does not, 2 a part failed.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from subprocess import SubprocessError
from typing import Any, Final

from grader.errors import GraderError
from grader.paths import ROOT
from tests.proof.speed import machine, outcome, report
from tests.proof.speed.outcome import FIGURES, BoundLine, Part
from tests.proof.speed.parts import OPTIONAL, PARTS, QUICKLY, BenchOptions

PAGE: Final = ROOT / "docs" / "performance.md"
TIMES_FASTER: Final = 20


def main() -> int:
    """Measure what is asked for."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what was started is ended
    asked = _arguments()
    try:
        named = asked.only or ([] if asked.report and not asked.measure else PARTS)
        chosen = dict.fromkeys([*named, *["peers"] * asked.peers, *["precisions"] * bool(asked.seeds)])
        failed = [name for name in chosen if not _measure(name, asked)]
        return _report(outcome.load(asked.out), asked, failed)
    except GraderError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"Stopped; parts that were measured are in {asked.out}.", file=sys.stderr)
        return 130


def _measure(name: str, asked: argparse.Namespace) -> bool:
    """Measure one part and keep it. False where it failed, and then says why."""
    print(f"measuring {name}", file=sys.stderr, flush=True)
    began, load = time.perf_counter(), machine.read_load_average()
    wish = QUICKLY if asked.quick else BenchOptions()
    measure: Callable[[BenchOptions], Part] = {**PARTS, **OPTIONAL}[name]
    try:
        part = measure(replace(wish, seeds=asked.seeds or wish.seeds))
    except (GraderError, OSError, ValueError, RuntimeError, SubprocessError) as error:
        print(f"  failed: {error}", file=sys.stderr, flush=True)
        return False
    outcome.save(replace(part, load=(load, machine.read_load_average())), asked.out)
    print(f"  {part.skipped or f'{time.perf_counter() - began:.0f} s'}", file=sys.stderr, flush=True)
    return True


def _report(parts: Mapping[str, Any], asked: argparse.Namespace, failed: list[str]) -> int:
    found = collect_bounds(parts)
    print("\n".join(map(str, found)))
    if asked.report and parts:
        page = PAGE if asked.out == FIGURES else asked.out.with_name(PAGE.name)
        report.write(parts, found, page, asked.out)
    if failed:
        print(f"Not measured, see above: {', '.join(failed)}.", file=sys.stderr)
        return 2
    return int(not all(line.holds for line in found))


def collect_bounds(parts: Mapping[str, Any]) -> list[BoundLine]:
    """Lines of single parts, and how much faster `quick` is than as submitted, on the same machine and data."""
    found, whole = outcome.collect_lines(parts.values()), parts.get("as-submitted", {})
    for quick in (parts[name] for name in report.QUICK if name in parts and whole):
        same_data = whole["figures"]["reviews"] == quick["figures"]["reviews"]
        if same_data and whole["machine"] == quick["machine"]:
            gain = whole["figures"]["total_s"] / quick["figures"]["stages_s"]["total"]
            since = min(filter(None, map(outcome.find_kept_since, (whole, quick))), default="")
            name = f"{quick['name']} beside as submitted (extrapolated), times faster"
            found.append(BoundLine(name, gain, TIMES_FASTER, at_most=False, kept=since))
    return found


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=".venv/bin/python -m tests.proof.speed", description="What grading costs.")
    names = [*PARTS, *OPTIONAL]
    parser.add_argument("--only", nargs="+", action="extend", choices=names, help="measure these parts")
    parser.add_argument("--quick", action="store_true", help="few rounds, to see that it works; needs --out")
    parser.add_argument("--peers", action="store_true", help="install otter-grader and nbgrader, and measure them too")
    parser.add_argument("--seeds", type=_count, help="compare verdicts of both precisions with so many (8 min each)")
    parser.add_argument("--report", action="store_true", help="write performance.md from the kept figures")
    parser.add_argument("--measure", action="store_true", help="with --report: measure first")
    parser.add_argument("--out", type=Path, default=FIGURES, help="file that keeps the figures")
    asked = parser.parse_args()
    if asked.quick and asked.out.resolve() == FIGURES:
        parser.error("--quick measures too little for the figures in docs; name another file with --out")
    return asked


if __name__ == "__main__":
    raise SystemExit(main())
