"""The tables of the corpus: large enough, well-formed, and about checks that exist."""

import ast

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from grader import paths
from grader.errors import GraderError
from grader.judging import scoring
from grader.kernel.compat import newer_syntax
from tests.proof.validity.corpus import Base, CaseKind, patch, read_corpus, strip_assertions
from tests.proof.validity.corpus_run import load
from tests.proof.validity.figures import ACCURACY

CORPUS = load()[1]
RUBRIC = set(scoring.load_rubric(paths.RUBRIC))
FUNCTION = "def f(x):\n    return x\n\n\nf(a)"
BASE = Base({"first": "a = 1\nb = 2", "second": FUNCTION})


def test_corpus_is_large_enough() -> None:
    kinds = [case.kind for case in CORPUS if not case.training]
    assert kinds.count(CaseKind.MUTANT) >= 60
    assert kinds.count(CaseKind.VARIANT) >= 45


def test_expectations_name_checks_of_the_rubric() -> None:
    assert {check for s in CORPUS for check in s.failed | s.blocked} <= RUBRIC


def test_every_check_has_a_mutant_for_it_alone() -> None:
    alone = {check for s in CORPUS if len(s.failed) == 1 for check in s.failed}
    assert alone | set(ACCURACY) >= RUBRIC
    assert set(ACCURACY) <= {check for s in CORPUS if s.training for check in s.failed}


def test_mutants_are_expected_to_fail_and_variants_to_pass() -> None:
    assert [s.id for s in CORPUS if bool(s.failed | s.blocked) is (s.kind is CaseKind.VARIANT)] == []


def test_cases_are_valid_python() -> None:
    shell = TransformerManager()
    shell.cleanup_transforms.append(newer_syntax.rewrite_cell)  # some are written for a newer Python than this one
    for name, cell in ((case.id, cell) for case in CORPUS for cell in case.cells):
        code = shell.transform_cell(cell)
        compile(code, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize(
    ("edits", "define", "again", "expected"),
    [
        pytest.param([["first", "a = 1", "a = 5"]], "", "", ("a = 5\nb = 2", FUNCTION), id="edit"),
        pytest.param([["*", "a", "c"]], "", "", ("c = 1\nb = 2", FUNCTION.replace("(a)", "(c)")), id="edit everywhere"),
        pytest.param([], "k = 2\ndef f(x): 3", "", ("a = 1\nb = 2", "k = 2\ndef f(x): 3\n\n\nf(a)"), id="definition"),
        pytest.param([], "", "f(2)", ("a = 1\nb = 2", FUNCTION, "f(2)"), id="again"),
    ],
)
def test_patch(edits: list[list[str]], define: str, again: str, expected: tuple[str, ...]) -> None:
    assert patch(BASE, edits, define, again) == expected


@pytest.mark.parametrize(
    ("edits", "define"),
    [
        pytest.param([["first", "z = 1", "z = 5"]], "", id="text that is not there"),
        pytest.param([["third", "a = 1", "a = 5"]], "", id="cell that is not there"),
        pytest.param([], "def g(x):\n    return x", id="definition that is not there"),
    ],
)
def test_patch_that_takes_no_hold(edits: list[list[str]], define: str) -> None:
    with pytest.raises(LookupError):
        patch(BASE, edits, define, "")


def test_two_cases_of_one_name(tmp_path) -> None:
    (tmp_path / "mutants").mkdir()
    entry = '[[mutant]]\nid = "x"\nwords = "y"\nagain = "1"\n'
    (tmp_path / "mutants" / "some.toml").write_text(entry * 2, encoding="utf-8")
    with pytest.raises(GraderError, match="more than one case called x"):
        read_corpus(tmp_path, BASE)


def test_assertions_of_a_cell_are_left_out() -> None:
    assert strip_assertions("x = 1\nassert x == 1, (\n    'no'\n)\ny = 2") == "x = 1\n\n\n\ny = 2"
