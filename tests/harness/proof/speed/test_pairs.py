"""Two trees in turn: what is measured, and what is said where one of them fails."""

import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from grader.errors import GraderError
from grader.model import Precision, Profile
from tests.proof.speed import pairs

GRADER = """#!{python}
import json, pathlib, sys, time
time.sleep({seconds})
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir(parents=True)
told = {{"run": {{"peak_memory_mib": {mib}}}, "timings": {{"kernel start": 9, "cells": {mib}, "judging": 100}}}}
(out / "result.json").write_text(json.dumps(told))
sys.exit({code})
"""


def write_tree(folder: Path, seconds: float, mib: int, code: int = 0) -> Path:
    python = folder / pairs.PYTHON
    python.parent.mkdir(parents=True)
    python.write_text(GRADER.format(python=sys.executable, seconds=seconds, mib=mib, code=code), encoding="utf-8")
    python.chmod(0o755)
    return folder


def test_ratios(tmp_path: Path) -> None:
    trees = {"other": write_tree(tmp_path / "a", 0.0, 200), "this": write_tree(tmp_path / "b", 1.0, 100)}
    samples = list(pairs.measure_pairs(trees, {"other": ["grade"], "this": ["grade"]}, 2))
    assert [name for name, _ in samples] == ["other", "this"] * 2
    found = pairs.compare(samples)
    assert found["peak_mib"] == pairs.Comparison(200.0, 100.0)
    assert found["peak_mib"].ratio == 0.5
    assert found["warm_s"] == pairs.Comparison(300.0, 200.0)
    assert found["wall_s"].ratio > 1


def test_a_tree_that_fails_is_told(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "a", 0, 1, code=2)
    with pytest.raises(GraderError, match="ended with 2"):
        pairs.measure_command(tree, ["grade"], tmp_path / "out")


@pytest.mark.parametrize(
    ("work", "bounds"),
    [
        pytest.param(pairs.Work(Profile.QUICK, Precision.BFLOAT16, 0), [0.25, 0.25, 1], id="quick"),
        pytest.param(pairs.Work(Profile.STRUCTURE, Precision.AUTO, 0), [0.65, 0.65], id="structure"),
        pytest.param(pairs.Work(Profile.STRUCTURE, Precision.AUTO, 20), [0.6], id="a class"),
    ],
)
def test_a_miss_is_one_on_the_page(work: pairs.Work, bounds: list[float]) -> None:
    found = {
        "wall_s": pairs.Comparison(100, 70),
        "warm_s": pairs.Comparison(100, 20),
        "peak_mib": pairs.Comparison(100, 90),
    }
    part = pairs.build_part(work, "0123456", found, 3)
    assert [line.bound for line in part.lines] == bounds
    assert [line.holds for line in part.lines] == [False, True, True][: len(bounds)]
    assert "0123456" in part.lines[0].what


def test_a_class_of_copies_is_no_class_of_the_same_file(tmp_path: Path) -> None:
    notebook = tmp_path / "n.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("x = 1")]), notebook)
    written = sorted(pairs.write_class(tmp_path / "class", 3, notebook).iterdir())
    assert len({path.read_bytes() for path in written}) == 3
