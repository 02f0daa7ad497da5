"""docs/validity.md, a summary of what is stored, and the table of all cases, which is too long for it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from grader.judging.calibration import FALSE_FAIL
from tests.proof.validity.figures import Matrix
from tests.proof.validity.rounds import Round
from tests.proof.validity.training import Rate
from tests.proof.validity.verdicts import CaseResult

INTRODUCTION: Final = """# Are the verdicts right?

Written by `make validate`; not edited by hand. Each *mutant* is the reference solution with one mistake, and has to
fail exactly the checks that name it. Each *variant* is a different right solution, and has to pass everything. *Whole
notebooks* are written in the habits of real submissions. All of them are in `tests/corpus`.
"""
NOT_REPEATED: Final = ("Repetitions of the corpus with other seeds", "none run (`make validate REPEAT=n` runs them)")
NOT_MEASURED: Final = "Not measured on this code yet: `make validate` does, in some minutes.\n"
UNSHOWN: Final = """## What is not shown

- Mistakes that nobody has thought of: mutants are what was seen in real submissions, and what the authors made up.
- Accuracy, but in the trainings above: mutants and variants run in profile `structure`, where it is not judged.
- Profile `full`, GPUs, and the real `distilbert-base-uncased`: all of the above is about the stand-in.
- Notebooks that attack the grader: `docs/threat-model.md`. Written answers, which nobody judges here.

## All cases

`make validate` writes every case with its verdicts and with what its student reads to `results/validity/cases.md`.
`make validate ONLY="scale_ extract_list"` runs those whose names begin so, and prints them; `REPEAT=20` repeats the
whole corpus with other seeds, `TRAINING=1` runs the trainings that are missing. Rounds are kept and not run twice.
"""


def render_page(
    matrix: Matrix | None, rounds: Sequence[Round], flips: Sequence[str], rates: Sequence[Rate], reviews: str
) -> str:
    """The summary. Without a matrix it says that there is nothing to sum up. `reviews`: those of the rates."""
    measured = [NOT_MEASURED] if matrix is None else [*_render_figures(matrix, rounds, flips), _render_checks(matrix)]
    return "\n".join([INTRODUCTION, *measured, _render_chances(rates, reviews), UNSHOWN])


def _render_figures(matrix: Matrix, rounds: Sequence[Round], flips: Sequence[str]) -> Iterator[str]:
    first, *others = rounds
    seeds, failures = (sum(found[i] for found in first.lora.values()) for i in (0, 1))
    again = (f"Repetitions of the corpus with other seeds, {len(others)}: verdicts that flipped", str(len(flips)))
    repeated = (
        (f"LoRA checks on {len(first.lora)} right layers, {seeds} other seeds: verdicts that flipped", str(failures)),
        again if others else NOT_REPEATED,
    )
    yield f"Measured on {first.measured}, on code `{first.conditions.split()[0]}`.\n"
    yield _table(("Figure", "Measured"), (*matrix.summarise(), *repeated))
    wrong = [f"{row.case.id}: {surprise}" for row in matrix.surprising for surprise in row.surprises]
    if wrong:
        yield "\n".join(f"- **not as expected**: {_cell(text)}" for text in wrong) + "\n"


def _render_checks(matrix: Matrix) -> str:
    head = (
        "Check",
        "Mutants that must fail it, and do",
        "of these, caught by no other check",
        "Right solutions that pass it",
    )
    of = "{} of {}".format
    rows = [
        (f"`{check}`", of(*matrix.count_failed(check)), str(len(found)), of(*matrix.count_passed(check)))
        for check, found in matrix.sole_killers.items()
    ]
    return f"## By check\n\n{_table(head, rows)}"


def _render_chances(rates: Sequence[Rate], reviews: str) -> str:
    head = ("What should not happen", "Happened", "Rate at most (95 % confidence)")
    rows = [(rate.what, f"{rate.happened} of {rate.runs}", f"{rate.bound:.1%}") for rate in rates if rate.runs]
    text = (
        f"Accuracy is judged after training in profile `quick`, here on {reviews}. A threshold is computed "
        f"from mean and deviation of such runs so that the reference misses it in {FALSE_FAIL:.1%} of them.\n"
        "So few runs show no rate that small: the last column is all that they show."
    )
    nothing = "Nothing has been run yet: `make validate TRAINING=1` does, in hours.\n"
    return f"## Accuracy\n\n{text}\n\n{_table(head, rows) if rows else nothing}"


def render_cases(matrix: Matrix, results: Iterable[CaseResult]) -> str:
    """Every case, with its verdicts in the order of the checks and with what its student reads."""
    said = {result.case.id: result for result in results}
    legend = "Verdicts: F failed, b blocked, · passed, - not judged, E our fault. ®: seen in real ones."
    numbered = (f"{number}. `{check}`" for number, check in enumerate(matrix.checks, start=1))
    lines = ["# All cases", "", legend, "", *numbered]
    for row in (*matrix.rows, *matrix.notebooks):
        lines += ["", f"**`{row.case.id}`**{' ®' if row.case.seen else ''} `{row.letters}` {row.case.words}", ""]
        lines += [f"- `{j.id}`: {_cell(j.rationale)} *{_cell(j.hint)}*" for j in said[row.case.id].words]
        lines += [f"- **not as expected**: {_cell(surprise)}" for surprise in row.surprises]
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
