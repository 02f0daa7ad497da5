"""docs/validity.md: the figures, the matrix and the feedback, for people who read the repository."""

from collections.abc import Iterator, Sequence

from grader.judging.calibration import FALSE_FAIL
from tests.proof.validity.corpus import CorpusCase
from tests.proof.validity.figures import Matrix, get_letter
from tests.proof.validity.repetition import Repetition
from tests.proof.validity.training import Rate
from tests.proof.validity.verdicts import CaseResult

INTRODUCTION = """# Are the verdicts right?

This page is written by `make validate`; do not edit it. Each *mutant* is the reference solution with one mistake, and
has to fail exactly the checks that name this mistake (F) while checks that depend on those are blocked (b). Each
*variant* is a different right solution, and has to pass everything. The tables are in `tests/corpus`. Mistakes marked ®
were seen in real submissions.

The corpus is run in profile `structure`, where accuracy is not judged (-): see the section on training.
"""


def render_document(matrix: Matrix, sections: Sequence[str] = ()) -> str:
    """The whole page. `sections`: further ones, as Markdown."""
    parts = [
        INTRODUCTION,
        _table(("Figure", "Measured"), matrix.summary()),
        *sections,
        "## Checks × mutants\n",
        _legend(matrix),
        _grid(matrix),
        "## What the student reads\n",
        *(_feedback(finding) for finding in matrix.mutants),
        "## Variants\n",
        _table(("Variant", "What is different"), [(f"`{f.specimen.id}`", f.specimen.words) for f in matrix.variants]),
    ]
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _legend(matrix: Matrix) -> str:
    rows = [(str(i), f"`{check}`", _killers(matrix, check)) for i, check in enumerate(matrix.checks, start=1)]
    return _table(("Column", "Check", "Mutants that it alone fails"), rows)


def _killers(matrix: Matrix, check: str) -> str:
    found = matrix.sole_killers.get(check)
    if found is None:
        return "see the section on training"
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(f"`{name}`" for name in found[:3]) + more if found else "**none**"


def _grid(matrix: Matrix) -> str:
    head = ("Mutant", *(str(i) for i in range(1, len(matrix.checks) + 1)))
    rows = [(f"`{f.specimen.id}`", *(get_letter(f, check) for check in matrix.checks)) for f in matrix.mutants]
    return _table(head, rows)


def _feedback(finding: CaseResult) -> str:
    specimen = finding.specimen
    return "\n".join(
        [f"**`{specimen.id}`**{' ®' if specimen.seen else ''}: {specimen.words}\n", *_quote_feedback(finding), ""]
    )


def _quote_feedback(finding: CaseResult) -> Iterator[str]:
    for judgement in finding.words:
        yield f"- `{judgement.id}`: {_cell(judgement.rationale)} *{_cell(judgement.hint)}*"
    for surprise in finding.surprises:
        yield f"- **not as expected: {_cell(surprise)}**"


def render_notebooks(found: Sequence[CorpusCase]) -> str:
    """A section on whole notebooks."""
    text = "Written in different hands, with the habits of real submissions. The tests of the project run them.\n\n"
    rows = [(f"`{s.id}`", s.words, _format_expected(s)) for s in found]
    return "## Whole notebooks\n\n" + text + _table(("Notebook", "Habits", "Has to fail"), rows)


def _format_expected(specimen: CorpusCase) -> str:
    return ", ".join(f"`{check}`" for check in sorted(specimen.failed)) or "nothing"


def render_repetitions(found: Sequence[Repetition]) -> str:
    """A section on verdicts that must not depend on the draw."""
    rows = [(f"`{r.specimen}`", str(r.seeds), str(r.flips)) for r in found]
    text = (
        "The layer answers the challenges of every seed, and every LoRA check judges the answers. Layers of 16 to 48 "
        "units, in float32, float64 and bfloat16.\n\n"
    )
    return "## The LoRA checks with other seeds\n\n" + text + _table(("Layer", "Seeds", "Verdicts that flipped"), rows)


def render_rounds(count: int, flips: Sequence[str]) -> str:
    """A section on the whole corpus with other seeds."""
    text = (
        "The whole corpus is executed and judged again with other seeds, which decide what the probes ask, where "
        "trainings begin, and in which order they read. `make validate REPEAT=20` runs what is missing here.\n\n"
    )
    rows = [("Repetitions", str(count)), ("Verdicts that flipped", str(len(flips)))]
    listed = "".join(f"- {_cell(flip)}\n" for flip in flips)
    return "## The whole corpus with other seeds\n\n" + text + _table(("Figure", "Measured"), rows) + listed


def render_chances(rates: Sequence[Rate]) -> str:
    """A section on verdicts that training leaves to chance."""
    head = ("What should not happen", "Happened", "Runs", "Rate at most (95 % confidence)")
    rows = [(rate.what, str(rate.happened), str(rate.runs), f"{rate.bound:.1%}") for rate in rates if rate.runs]
    text = (
        "Accuracy is judged after training in profile `quick`. A threshold promises that the reference misses it in at "
        f"most {FALSE_FAIL:.1%} of all runs. Where a method learns little, as the head alone does on synthetic "
        "reviews, its threshold lies near one half, and a model that learned nothing may reach it by chance. "
        "`make validate TRAINING=1` runs what is missing here."
    )
    return f"## Training\n\n{text}\n\n" + (_table(head, rows) if rows else "Nothing has been run yet.\n")
