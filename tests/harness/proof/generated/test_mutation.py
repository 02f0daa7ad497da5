"""Mistakes made by edits, and which of them are none."""

import pytest

from tests.proof.generated.bench import Finding
from tests.proof.generated.equivalence import find_reason
from tests.proof.generated.generator import generate
from tests.proof.generated.mutation import Edit, find_marked_lines, list_edits, list_mutants


@pytest.mark.parametrize(
    ("source", "edited"),
    [
        pytest.param("a = b + c", "a = b - c", id="operator"),
        pytest.param("a = b / c", "a = c / b", id="operands exchanged"),
        pytest.param("a = b @ c", "a = b", id="operand missing"),
        pytest.param("a = 12", "a = 13", id="constant"),
        pytest.param("a = False", "a = True", id="truth value"),
        pytest.param("a = 'q_lin'", "a = '_lin'", id="text"),
        pytest.param("a = f(b, c)", "a = f(c, b)", id="arguments exchanged"),
        pytest.param("a = f(b, bias=False)", "a = f(b)", id="keyword argument missing"),
        pytest.param("a = f(b)", "a = b", id="call missing"),
        pytest.param("a = b\nf(a)", "a = b\npass", id="statement missing"),
        pytest.param("a = b is not None", "a = b is None", id="comparison"),
        pytest.param("a = [b for b in c if d]", "a = [b for b in c]", id="condition missing"),
        pytest.param("a = [b for b in c if d]", "a = [b for b in c if not d]", id="condition negated"),
        pytest.param("a = W.in_features", "a = W.out_features", id="attribute"),
        pytest.param("def f(x, y):\n    return x", "def f(x, y):\n    return y", id="name"),
        pytest.param("def f(x):\n    return x", "def f(x):\n    print(x)", id="printed"),
        pytest.param("a = (b, c)", "a = (c,)", id="item missing"),
    ],
)
def test_edits(source: str, edited: str) -> None:
    assert edited in [edit.source for edit in list_edits("cell", source)]


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("import math", id="import"),
        pytest.param("def f():\n    'Says something.'", id="docstring"),
        pytest.param("def load_model():\n    return g(1)", id="the model"),
    ],
)
def test_what_is_not_edited(source: str) -> None:
    assert list(list_edits("cell", source)) == []


def test_only_the_solution_is_edited() -> None:
    source = "a = 1\n# BEGIN SOLUTION\nb = 2\n# END SOLUTION\nc = 3"
    assert find_marked_lines(source) == {2, 3}
    assert {edit.before for edit in list_edits("cell", source)} == {"b = 2"}


def test_mutants_are_all_different() -> None:
    program = generate(3)
    found = list(list_mutants(program, program.cells))
    texts = [tuple(mutant.program.cells.values()) for mutant in found]
    assert len(set(texts)) == len(found) > 60
    assert tuple(program.cells.values()) not in texts
    assert {mutant.original for mutant in found} == {program.id}


RIGHT = Finding(id="g0", evidence={"layer": "1", "layer at the start": "1", "trained weights": "1"})


@pytest.mark.parametrize(
    ("edit", "differs", "advised", "words"),
    [
        pytest.param(
            Edit("lora-layer", "another attribute", "", "nn.init.zeros_(self.B)", "", ""),
            ["layer at the start", "trained weights"],
            False,
            "another random start",
            id="another start",
        ),
        pytest.param(
            Edit("lora-layer", "another operator", "", "y = s * u", "", ""), ["layer"], False, None, id="another result"
        ),
        pytest.param(
            Edit("wrap-layers", "another name", "", "LoRALayer(W, RANK, ALPHA)", "", ""),
            ["trained weights"],
            False,
            "another rank or alpha",
            id="rank",
        ),
        pytest.param(
            Edit("lora-layer", "another attribute", "", "nn.Linear(rank, W.out_features)", "", ""),
            ["layer at the start"],
            True,
            "square",
            id="square W, advised",
        ),
        pytest.param(
            Edit("extract-qv-layers", "another text", "", ".q_lin", "", ""), [], False, "the same layers", id="names"
        ),
        pytest.param(Edit("load-model", "another operator", "", "a + b", "", ""), [], False, None, id="no rule"),
    ],
)
def test_reasons(edit: Edit, differs: list[str], advised: bool, words: str | None) -> None:
    evidence = {part: "2" if part in differs else digest for part, digest in RIGHT.evidence.items()}
    found = find_reason(edit, RIGHT, Finding(id="m", evidence=evidence, advised=("check",) * advised))
    assert (found is None) if words is None else (words in (found or ""))


@pytest.mark.parametrize(
    ("advised", "words"),
    [
        pytest.param(("a",), "the same layers", id="what the program is told as well"),
        pytest.param(("a", "b"), None, id="and something of the edit's own"),
    ],
)
def test_advice_on_the_program_is_not_the_edits(advised: tuple[str, ...], words: str | None) -> None:
    edit = Edit("extract-qv-layers", "another text", "", ".q_lin", "", "")
    original = RIGHT.model_copy(update={"advised": ("a",)})
    found = find_reason(edit, original, original.model_copy(update={"id": "m", "advised": advised}))
    assert (found is None) if words is None else (words in (found or ""))
