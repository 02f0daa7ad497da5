"""Copies are found under other names and in another order; honest solutions of the same stub are not."""

import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from grader.errors import GraderError
from grader.similarity import THRESHOLD, Paper, Similarity, compare, make_paper, read_template_code
from grader.similarity.paper import CHARS_MAX, TOKENS_MAX
from tests.proof.validity.corpus import read_base, read_corpus
from tests.proof.validity.whole_notebooks import read_habits

ROOT = Path(__file__).resolve().parents[3]
BASE = read_base(ROOT / "reference" / "solution.ipynb")
HONEST = {
    **{habit.id: list(habit.cells) for habit in read_habits(ROOT / "tests" / "corpus" / "habits")},
    "reference": list(BASE.cells.values()),
}
TEMPLATE = read_template_code(ROOT / "student_template" / "assignment.ipynb")


def paper(id_: str, cells: list[str], author: str = "", sha256: str = "") -> Paper:
    notebook = new_notebook(cells=[new_markdown_cell("text"), *map(new_code_cell, cells)])
    return make_paper(id_, author or id_, sha256 or id_, notebook)


def found(papers: list[Paper], threshold: float = THRESHOLD) -> Similarity:
    return compare(papers, TEMPLATE, threshold)


def renamed(cells: list[str]) -> list[str]:
    return [re.sub(r"\b(model|trainer|args|dataset|self|x|W)\b", r"my_\1", cell) for cell in cells]


def reordered(cells: list[str]) -> list[str]:
    third = len(cells) // 3
    return [*cells[2 * third :], *cells[:third], *cells[third : 2 * third]]


DISGUISES: dict[str, Callable[[list[str]], list[str]]] = {
    "renamed": renamed,
    "reformatted": lambda cells: [re.sub(r"\n(\s*)(\w)", r"\n\1# note\n\1\2", c).replace("'", '"') for c in cells],
    "reordered": reordered,
    "in one cell": lambda cells: ["\n".join(cells)],
    "with more around it": lambda cells: [*cells, *HONEST["expert_loop"]],
    "renamed and reordered": lambda cells: renamed(reordered(cells)),
}


def test_honest_solutions_are_below_the_threshold() -> None:
    papers = [paper(name, cells) for name, cells in HONEST.items()]
    assert found(papers).pairs == ()
    assert found(papers, 0.2).pairs[0].similarity < 0.48  # 0.45: room below the threshold


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("original", ["class_based", "messy_leftovers", "out_of_order"])
def test_a_copy_is_found_in_disguise(disguise: str, original: str) -> None:
    copy = DISGUISES[disguise](HONEST[original])
    others = [paper(name, cells) for name, cells in HONEST.items() if name != "expert_loop"]
    (pair,) = found([*others, paper("zz", copy)]).pairs
    assert (pair.left.id, pair.right.id) == (original, "zz")
    assert pair.similarity > 0.7


def test_a_layer_of_ones_own_does_not_hide_the_rest() -> None:
    specimens = read_corpus(ROOT / "tests" / "corpus", BASE)
    two = [paper(s.id, list(s.cells)) for s in specimens if s.id in ("lora_parameters", "lora_rank_last")]
    (pair,) = found(two).pairs
    assert pair.similarity > 0.75


def test_what_is_in_the_template_and_attempts_of_one_student_are_not_compared() -> None:
    given = [TEMPLATE, *HONEST["imdb_slices"][:1]], [TEMPLATE, *HONEST["async_typed"][:1]]
    assert found([paper("a", given[0]), paper("b", given[1])], 0.1).pairs == ()
    cells = HONEST["class_based"]
    assert found([paper("a1", cells, author="a"), paper("a2", renamed(cells), author="a")]).pairs == ()


def test_what_many_have_is_common_knowledge() -> None:
    own = [[f"def f{n}(a):\n" + "\n".join(f"    a {op}= {op * 2}a" for op in "+-" * (n + 1))] for n in range(12)]
    papers = [paper(f"{n:02}", [*HONEST["class_based"], *own[n]]) for n in range(12)]
    assert [len(found(papers[:n]).pairs) for n in (5, 12)] == [10, 0]


def test_equal_files_of_two_students_come_first_and_stand_for_one() -> None:
    cells = HONEST["class_based"]
    papers = [
        paper("a", cells, sha256="1"),
        paper("b", cells, sha256="1"),
        paper("c", cells, author="a", sha256="1"),
        paper("d", HONEST["async_typed"], sha256="2"),
        paper("e", HONEST["async_typed"], author="d", sha256="2"),
        paper("f", renamed(cells), sha256="3"),
    ]
    similar = found(papers)
    assert [[one.id for one in group] for group in similar.equal] == [["a", "b", "c"]]
    assert [(pair.left.id, pair.right.id) for pair in similar.pairs] == [("a", "f")]
    assert similar.compared == 6


def test_passages_point_at_the_same_code_on_both_sides() -> None:
    copied = HONEST["class_based"]
    left, right = paper("a", copied), paper("b", [*HONEST["async_typed"], *renamed(copied)])
    (pair,) = found([left, right]).pairs
    longest = pair.passages[0]
    original = [line for line in left.lines[longest.left[0] : longest.left[1] + 1] if line.strip()]
    copy = [line for line in right.lines[longest.right[0] : longest.right[1] + 1] if line.strip()]
    assert len(original) > 60
    assert [line.replace("my_", "") for line in copy] == original
    for one, two in combinations(pair.passages, 2):
        assert not (one.left[0] <= two.left[0] and two.left[1] <= one.left[1] and one.right == two.right)


def test_a_line_knows_its_cell() -> None:
    one = paper("a", ["x = 1", "y = 2\nz = 3", "", "w = 4"])  # after a cell of text, which is number 1
    assert [one.find_cell(line) for line in range(len(one.lines))] == [2, 3, 3, 4, 5]
    assert one.lines[one.cells[3][0]] == "w = 4"


def test_pairs_are_the_same_in_every_process_and_order() -> None:
    """Hashes of text depend on the process; fingerprints must not."""
    code = (
        "from tests.harness.similarity.test_similarity import *\n"
        "papers = [paper(n, c) for n, c in HONEST.items()]\n"
        "print([(p.left.id, p.right.id, round(p.similarity, 6)) for p in found(papers[::-1], 0.1).pairs])"
    )
    environ = {**os.environ, "PYTHONHASHSEED": "1"}
    elsewhere = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=environ, text=True, timeout=300)
    pairs = found([paper(n, c) for n, c in HONEST.items()], 0.1).pairs
    assert elsewhere.strip() == str([(p.left.id, p.right.id, round(p.similarity, 6)) for p in pairs])
    assert len(pairs) > 5


HOSTILE = {
    "nul bytes": "\x00" * 300_000,
    "open brackets": "(" * 300_000,
    "open strings": '"""\\' * 100_000,
    "escaped quotes": '"""' + '\\"""' * 100_000,
    "quotes": "'" * 300_000,
    "backslashes": "\\" * 300_000,
    "one name": "a" * 300_000,
    "one line again and again": "model(x, y, z).train()\n" * 20_000,
    "digits": "1_" * 150_000,
    "comment": "#" * 300_000,
    "surrogates": "\ud800é\u202e" * 100_000,
    "blank lines": "\n" * 300_000,
    "spaces": " " * 300_000,
    "dots": "." * 300_000,
    "letters before quotes": "rb" * 150_000,
    "empty": "",
    "not Python": "<html>{{ }} $x = ::\n" * 10_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_bounded(text: str) -> None:
    one = Paper("a", "a", "1", text)
    two = Paper("b", "b", "2", f"x = 1\n{text}")
    began = time.process_time()
    similar = found([one, two, paper("c", HONEST["class_based"])])
    assert time.process_time() - began < 10  # about 1 s; quadratic time would be minutes
    assert len(one.tokens) <= TOKENS_MAX
    assert sum(map(len, one.lines)) <= CHARS_MAX
    assert all(pair.passages for pair in similar.pairs)


@pytest.mark.parametrize("content", [None, "{}"], ids=["missing", "no notebook"])
def test_a_template_that_cannot_be_read_is_the_graders_fault(tmp_path: Path, content: str | None) -> None:
    template = tmp_path / "template.ipynb"
    if content is not None:
        template.write_text(content, encoding="utf-8")
    with pytest.raises(GraderError, match="restore it"):
        read_template_code(template)


def test_a_class_of_two_hundred_is_compared_in_seconds() -> None:
    chance, sources = random.Random(3), list(HONEST.values())
    papers = [paper(f"{n:03}", [*sources[n % len(sources)][:1], *chance.choice(sources)]) for n in range(200)]
    began = time.process_time()
    assert found(papers).compared == 200
    assert time.process_time() - began < 30  # about 4 s
