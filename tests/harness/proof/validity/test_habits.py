"""Whole notebooks in different hands get exactly the verdicts that their table expects."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from grader.errors import GraderError
from grader.judging.claims import find_repetitions, match_claims, read_claims
from grader.model import Method, MethodSummary, Verdict
from grader.paths import ROOT
from tests.proof.validity import whole_notebooks
from tests.proof.validity.verdicts import CaseResult

FOLDER = ROOT / "tests" / "corpus" / "habits"
HABITS = whole_notebooks.read_habits(FOLDER)
# Figures in the tables of trainings, and others after less training.
LESS_TRAINED = {".904": ".500", ".814": ".625", ".886": ".375", ".872": ".500", ".806": ".500", ".782": ".375"}


def test_every_text_is_in_the_table() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.txt")) == sorted(habit.id for habit in HABITS)


@pytest.fixture(scope="module")
def findings(examined: Callable[..., Mapping[str, CaseResult]]) -> Mapping[str, CaseResult]:
    """Takes a minute or two."""
    return examined(whole_notebooks.NOTHING_SHARED, HABITS)


@pytest.mark.parametrize("name", [habit.id for habit in HABITS])
def test_verdicts(findings: Mapping[str, CaseResult], name: str) -> None:
    assert findings[name].surprises == ()


@pytest.mark.parametrize("name", ["out_of_order", "bottom_up"])
def test_cells_that_came_too_early_are_advised_on(findings: Mapping[str, CaseResult], name: str) -> None:
    (said,) = (j for j in findings[name].judgements if j.id == "run.completes")
    assert said.verdict is Verdict.PASSED
    assert "names that only a later cell defines" in said.rationale


def test_copied_figures_are_flagged() -> None:
    """Beside what its run would have measured: step 2 froze nothing, step 3 was never trained."""
    notebook = whole_notebooks.read_text(FOLDER / "copied_figures.txt")
    training_cells = [index for index, cell in enumerate(notebook.cells) if "trainer.train()" in cell.source]
    places = list(zip((Method.FULL, Method.HEAD), training_cells, strict=True))
    measured = {
        Method.FULL: MethodSummary(trainable_parameters=66_955_010, accuracy=0.87),
        Method.HEAD: MethodSummary(trainable_parameters=66_955_010, accuracy=0.90),
        Method.LORA: MethodSummary(),
    }
    claims = match_claims(read_claims(notebook), places, measured)
    assert [(c.method, c.quantity, c.claimed, c.agrees) for c in claims] == [
        (Method.FULL, "accuracy", 0.904, True),
        (Method.FULL, "trainable_parameters", 66_955_010, True),
        (Method.HEAD, "accuracy", 0.814, False),
        (Method.HEAD, "trainable_parameters", 592_130, False),
        (Method.LORA, "accuracy", 0.874, None),
        (Method.LORA, "trainable_parameters", 813_314, None),
    ]


def test_figures_typed_in_are_told_from_measured_ones() -> None:
    submitted, executed = (whole_notebooks.read_text(FOLDER / "copied_figures.txt") for _ in range(2))
    outputs = (output for cell in executed.cells for output in cell.get("outputs", ()))
    for output in (output for output in outputs if output.output_type == "display_data"):
        for ours, theirs in LESS_TRAINED.items():
            output.data["text/html"] = output.data["text/html"].replace(ours, theirs)
    assert [claim.value for claim in find_repetitions(submitted, executed)] == [0.874]


def test_a_text_becomes_the_notebook_that_it_stands_for(tmp_path: Path) -> None:
    text = "# %% [markdown]\nTitle\n# %%\nprint(1)\n\n# %% [output]\n1\n# %% [output html]\n<table></table>\n"
    (tmp_path / "x.txt").write_text(text, encoding="utf-8")
    notebook = whole_notebooks.read_text(tmp_path / "x.txt")
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [("markdown", "Title"), ("code", "print(1)")]
    stream, table = notebook.cells[1].outputs
    assert stream.text == "1\n"
    assert table.data["text/html"] == "<table></table>"


def test_an_unknown_kind_of_cell_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("# %%\nx = 1\n# %% [raw]\ny", encoding="utf-8")
    with pytest.raises(GraderError, match="raw"):
        whole_notebooks.read_text(tmp_path / "x.txt")
