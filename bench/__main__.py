"""`python -m bench [--only PART ...] [--quick] [--peers] [--seeds N] [--report [--measure]]`: say which bounds hold.

Figures are kept in docs/performance.json (or --out) and added to, so that parts can be measured one after the other.
`--report` writes docs/performance.md and its plot from them. Exit code 1 when a bound does not hold.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench import outcome, report
from bench.outcome import Line
from bench.parts import OPTIONAL, PARTS, QUICKLY, Wish
from grader.project import ROOT

FIGURES: Final = ROOT / "docs" / "performance.json"
TIMES_FASTER: Final = 20


def main() -> int:
    """Measure what is asked for."""
    asked = _arguments()
    for name in _wanted(asked):
        print(f"measuring {name}", file=sys.stderr, flush=True)
        began, load = time.perf_counter(), outcome.load_average()
        part = {**PARTS, **OPTIONAL}[name](_wish(asked))
        outcome.save([replace(part, load=(load, outcome.load_average()))], asked.out)
        print(f"  {part.skipped or f'{time.perf_counter() - began:.0f} s'}", file=sys.stderr, flush=True)
    whole = outcome.load(asked.out)
    found = bounds(whole)
    print("\n".join(map(str, found)))
    if asked.report:
        report.write(whole, found, ROOT / "docs")
    return int(not all(line.holds for line in found))


def bounds(whole: dict[str, Any]) -> list[Line]:
    """Every line, those of single parts and those between parts."""
    parts = whole.get("parts", {})
    return [line for part in parts.values() for line in outcome.lines(part)] + list(_between(parts))


def _between(parts: dict[str, Any]) -> list[Line]:
    whole = parts.get("as-submitted")
    quick = parts.get("quick-bfloat16") or parts.get("quick-float32")
    if whole is None or quick is None or whole["figures"]["reviews"] != quick["figures"]["reviews"]:
        return []
    gain = whole["figures"]["total_s"] / quick["figures"]["stages_s"]["total"]
    return [Line("quick beside as submitted (extrapolated), times faster", gain, TIMES_FASTER, at_most=False)]


def _wanted(asked: argparse.Namespace) -> list[str]:
    """The parts to measure: those named, or all; none where only the page is to be written."""
    if asked.only:
        return list(asked.only)
    if asked.report and not asked.measure:
        return []
    return [*PARTS, *(["peers"] if asked.peers else ()), *(["precisions"] if asked.seeds else ())]


def _wish(asked: argparse.Namespace) -> Wish:
    wish = QUICKLY if asked.quick else Wish()
    return replace(wish, seeds=asked.seeds or wish.seeds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What grading costs.")
    parser.add_argument("--only", nargs="+", choices=[*PARTS, *OPTIONAL], help="measure these parts")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it works")
    parser.add_argument("--peers", action="store_true", help="install otter-grader and nbgrader, and measure them too")
    parser.add_argument("--seeds", type=int, help="compare verdicts of both precisions with so many (5 min each)")
    parser.add_argument("--report", action="store_true", help="write docs/performance.md from the kept figures")
    parser.add_argument("--measure", action="store_true", help="with --report: measure first")
    parser.add_argument("--out", type=Path, default=FIGURES, help="file that keeps the figures")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
