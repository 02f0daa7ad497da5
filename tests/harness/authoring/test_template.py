"""The template has everything of the reference but its solutions."""

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from grader import assignment
from grader.assets.cache import locate_cache
from grader.assets.hub import prepare_standin_checkpoint
from grader.assets.metrics import prepare_metrics
from grader.authoring.course import fill_notebook, read_course
from grader.authoring.template import derive_template, format_notebook, read_notebook
from grader.errors import GraderError
from grader.execution.variables import build_variables

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "reference" / "solution.ipynb"
TEMPLATE = ROOT / "student_template" / "assignment.ipynb"

# What every implementation of the class or function has in common, in a word: not a solution.
TRIVIAL_LINES = {"super().__init__()"}
TRIVIAL_LENGTH = 12  # "return Train" and the like give nothing away

# Runs the cells of a notebook one after the other, whatever they raise, then calls what they have defined.
RUN_TEMPLATE = """
import json, sys
namespace, raised = {}, {}
def attempt(name, source):
    try:
        exec(source, namespace)
    except Exception as error:
        raised[name] = f"{type(error).__name__}: {error}"
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        attempt(cell["id"], "".join(cell["source"]))
for call in json.loads(sys.argv[2]):
    attempt(call, call)
print(json.dumps(raised))
"""

# Every function and method that students write, with the words that its error must contain.
UNWRITTEN = {
    "count_trainable_parameters(nn.Linear(2, 2))": "count_trainable_parameters",
    "extract_qv_layers(nn.Identity())": "extract_qv_layers",
    "LoRALayer(nn.Linear(2, 2))": "LoRALayer.__init__",
    "LoRALayer.forward(None, None)": "LoRALayer.forward",
}

# Every cell of the template that does not run through yet, with the words that its error must contain.
UNSOLVED_CELLS = {
    "read-reviews": "`reviews`",
    "tokenize-reviews": "`tokenized`",
    "load-model": "`full_model`",
    "train-full": "`full_model`",
    "freeze-encoder": "`head_model`",
    "train-head": "`head_model`",
    "extract-qv-layers": "`lora_model`",
    "lora-layer": "LoRALayer",
    "wrap-layers": "`lora_model`",
    "train-lora": "`lora_model`",
}


def notebook(source: str, cell_type: str = "code", **metadata: object) -> NotebookNode:
    """One cell of interest, in second place, so that its number is 1."""
    new_cell = {"code": new_code_cell, "markdown": new_markdown_cell}[cell_type]
    return new_notebook(cells=[new_markdown_cell("first", id="first"), new_cell(source, id="it", metadata=metadata)])


def solution_lines(reference: NotebookNode) -> set[str]:
    """Every line that is for staff only, found by a plain search for the markers."""
    text = []
    for cell in reference.cells:
        if "solution" in cell.metadata.get("tags", []):
            text.append(cell.source)
        text += re.findall(r"BEGIN SOLUTION.*?\n(.*?)[^\n]*END SOLUTION", cell.source, re.DOTALL)
    return {line.strip() for part in text for line in part.splitlines() if "STUB:" not in line}


@pytest.fixture(scope="module")
def reference() -> NotebookNode:
    return read_notebook(REFERENCE)


@pytest.fixture(scope="module")
def raised_by_template(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Cell ids and calls with what they raised in the untouched template. Outside of pytest: imports cost seconds."""
    command = [sys.executable, "-c", RUN_TEMPLATE, str(TEMPLATE), json.dumps(list(UNWRITTEN))]
    cache, scratch = locate_cache(ROOT, os.environ), tmp_path_factory.mktemp("scratch")
    offline = build_variables(prepare_standin_checkpoint(cache).hub_cache, prepare_metrics(cache), scratch)
    environment = os.environ | dict(offline) | {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=True)
    return json.loads(done.stdout.splitlines()[-1])


class TestCommittedNotebooks:
    def test_template_is_what_the_reference_gives(self, reference: NotebookNode) -> None:
        before = copy.deepcopy(reference)
        derived = fill_notebook(derive_template(reference), read_course(ROOT))
        assert TEMPLATE.read_text(encoding="utf-8") == format_notebook(derived), "run make template"
        assert reference == before

    @pytest.mark.parametrize("path", [REFERENCE, TEMPLATE], ids=["reference", "template"])
    def test_file_is_canonical_so_that_changes_can_be_reviewed(self, path: Path) -> None:
        assert path.read_text(encoding="utf-8") == format_notebook(read_notebook(path))

    def test_reference_is_stored_unexecuted_for_a_python_kernel(self, reference: NotebookNode) -> None:
        executed = [cell.id for cell in reference.cells if cell.get("outputs") or cell.get("execution_count")]
        assert (executed, reference.metadata.kernelspec.name) == ([], "python3")

    def test_template_states_the_facts_that_are_graded(self) -> None:
        facts = [
            *(assignment.COUNT_NAMES[0], assignment.EXTRACT_NAMES[0], assignment.REPLACE_NAMES[0]),
            *(assignment.LORA_NAMES[0], assignment.MODEL_NAMES[0], assignment.QV_LAYER_NAMES[0]),
            *(f"{assignment.FULL_PARAMETERS:_}", f"{assignment.HEAD_PARAMETERS:_}"),
            f"{assignment.LORA_PARAMETERS_PER_RANK:_} * RANK",
            f"rank: int = {assignment.DEFAULT_RANK}, alpha: float = {assignment.DEFAULT_ALPHA}",
        ]
        sources = [cell.source for cell in read_notebook(TEMPLATE).cells]
        assert [fact for fact in facts if not any(fact in source for source in sources)] == []

    def test_nothing_of_the_solutions_is_in_the_template(self, reference: NotebookNode) -> None:
        secrets = {line for line in solution_lines(reference) if len(line) >= TRIVIAL_LENGTH} - TRIVIAL_LINES
        assert len(secrets) > 40, "the search for solutions finds too few to mean anything"
        text = "\n".join(cell.source for cell in read_notebook(TEMPLATE).cells)
        assert [line for line in secrets if line in text] == []
        assert not re.search(r"(BEGIN|END) SOLUTION|STUB:", text)


class TestUntouchedTemplate:
    """What a student meets who runs all cells before having written anything."""

    @pytest.mark.parametrize(("place", "words"), [*UNSOLVED_CELLS.items(), *UNWRITTEN.items()])
    def test_missing_piece_names_itself(self, raised_by_template: dict[str, str], place: str, words: str) -> None:
        assert raised_by_template[place].startswith("NotImplementedError: Step ")
        assert words in raised_by_template[place]

    def test_given_cells_run(self, raised_by_template: dict[str, str]) -> None:
        assert raised_by_template.keys() == UNSOLVED_CELLS.keys() | UNWRITTEN.keys()


INDENTED = "def f():\n    # BEGIN SOLUTION\n    # STUB: raise E\n    return 1\n    # END SOLUTION\n"
ANSWER = "Why?\n<!-- BEGIN SOLUTION -->\n<!-- STUB: *Your answer.* -->\nBecause.\n<!-- END SOLUTION -->"


class TestDerivation:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            pytest.param("a = 1", "a = 1", id="nothing-marked"),
            pytest.param("# BEGIN SOLUTION\na = 1\n# END SOLUTION", "", id="region-without-stub"),
            pytest.param("# BEGIN SOLUTION\n# STUB: a = 0\na = 1\n# END SOLUTION\nb = 2", "a = 0\nb = 2", id="stub"),
            pytest.param("# BEGIN SOLUTION\n# STUB: a\n# STUB: b\nc\n# END SOLUTION", "a\nb", id="stubs"),
            pytest.param(INDENTED, "def f():\n    raise E", id="indented"),
            pytest.param("a = 1\n\n\n# BEGIN SOLUTION\nb\n\n\n# END SOLUTION\n\n\nc", "a = 1\n\n\nc", id="gap-closed"),
            pytest.param(ANSWER, "Why?\n*Your answer.*", id="answer"),
        ],
    )
    def test_solutions_become_their_stubs(self, source: str, expected: str) -> None:
        given = notebook(source, "markdown" if source == ANSWER else "code")
        assert derive_template(given).cells[1].source == expected

    @pytest.mark.parametrize("cell_type", ["code", "markdown"])
    def test_tagged_cell_is_left_out(self, cell_type: str) -> None:
        assert [cell.id for cell in derive_template(notebook("1", cell_type, tags=["solution"])).cells] == ["first"]

    def test_outputs_and_metadata_stay_behind(self) -> None:
        executed = notebook("print(1)", collapsed=True)
        executed.cells[1].update(outputs=[nbformat.v4.new_output("stream", text="1")], execution_count=3)
        executed.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "author": "somebody"}
        derived = derive_template(executed)
        cell = derived.cells[1]
        assert (cell.outputs, cell.execution_count, dict(cell.metadata)) == ([], None, {})
        assert list(derived.metadata) == ["kernelspec"]
        nbformat.validate(derived)

    @pytest.mark.parametrize(
        ("source", "cell_type", "complaint"),
        [
            pytest.param("# BEGIN SOLUTION\na", "code", "does not end", id="unclosed"),
            pytest.param("# BEGIN SOLUTION\n# BEGIN SOLUTION\n# END SOLUTION", "code", "inside a", id="nested"),
            pytest.param("a\n# END SOLUTION", "code", "did not begin", id="unopened"),
            pytest.param("# STUB: a = 0", "code", "STUB outside", id="stub-outside"),
            pytest.param("# Begin solution\na\n# END SOLUTION", "code", "'# Begin solution'", id="lower-case"),
            pytest.param("#BEGIN SOLUTION\na\n#END SOLUTION", "code", "'#BEGIN SOLUTION'", id="no-space"),
            pytest.param("# BEGIN SOLUTION:\na\n# END SOLUTION", "code", "'# BEGIN SOLUTION:'", id="colon"),
            pytest.param("# BEGIN SOLUTION\na\n# END SOLUTION", "markdown", "<!-- BEGIN", id="code-marker-in-text"),
            pytest.param("<!-- BEGIN SOLUTION -->\na", "markdown", "does not end", id="unclosed-answer"),
            pytest.param("if a:\n  # BEGIN SOLUTION\n  1\n  # END SOLUTION", "code", "add a STUB", id="no-body"),
        ],
    )
    def test_malformed_region_is_refused_with_its_cell(self, source: str, cell_type: str, complaint: str) -> None:
        with pytest.raises(GraderError, match=re.escape(complaint)) as refusal:
            derive_template(notebook(source, cell_type))
        assert "Cell 1 (it)" in str(refusal.value)

    def test_misspelt_tag_is_refused(self) -> None:
        with pytest.raises(GraderError, match=r"Cell 1 .*'solutions'"):
            derive_template(notebook("secret = 1", tags=["solutions"]))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param(None, "no notebook", id="missing"),
        pytest.param(b"not json", "not a valid notebook", id="not-json"),
        pytest.param(b"\xff\xfe", "not a valid notebook", id="not-text"),
        pytest.param(b'{"nbformat": 4, "nbformat_minor": 5}', "not a valid notebook", id="no-cells"),
    ],
)
def test_reading_what_is_no_notebook(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    path = tmp_path / "solution.ipynb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GraderError, match=complaint):
        read_notebook(path)
