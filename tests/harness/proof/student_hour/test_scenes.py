"""The table of a student's mistakes fits the notebook, and what the checks say of them is read rightly."""

import ast
from pathlib import Path

import pytest

from grader.paths import REFERENCE, TEMPLATE
from tests.proof.student_hour import hour
from tests.proof.student_hour.kit_folder import KitFolder, read_cells, solve_cells
from tests.proof.student_hour.scenes import ALL, SCENES, Scene

GIVEN = read_cells(TEMPLATE)
KIT = KitFolder(Path(), GIVEN, GIVEN | solve_cells(REFERENCE))
CREATED = "LoRALayer can be created"
RED = f"3.3 The LoRA layer\n✗ failed\n{CREATED}\nExpected a layer; found none.\nTry: make one.\n✗ failed\nNot yet."
GREEN = f"3.3 The LoRA layer\n✓ passed\n{CREATED}\n✓ passed\nPassed."


def test_there_are_twenty_and_each_is_told_from_the_others() -> None:
    assert len({scene.id for scene in SCENES}) == len({scene.mistake for scene in SCENES}) == len(SCENES) >= 20


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.id)
def test_a_scene_fits_the_notebook(scene: Scene) -> None:
    named = {scene.check, *scene.before, *scene.after, *scene.mends, *filter(None, [scene.cell])}
    assert named <= GIVEN.keys()
    assert all(scene.says)
    assert not scene.cell or scene.place in hour.build_wrong(scene, KIT)
    assert not scene.cell or ast.parse(hour.build_wrong(scene, KIT))


def test_the_right_cells_are_a_whole_solution() -> None:
    assert not any("NotImplementedError" in KIT.right[cell] or "SOLUTION" in KIT.right[cell] for cell in ALL)


@pytest.mark.parametrize(
    ("said", "faults"),
    [
        pytest.param(RED, [], id="as expected, whatever the case"),
        pytest.param(GREEN, ["does not say “expected a `layer`”"], id="words are missing"),
        pytest.param(f"{RED}\nTraceback", ["says “Traceback”"], id="words that mislead"),
    ],
)
def test_faults_of_an_output(said: str, faults: list[str]) -> None:
    scene = Scene("one", "A mistake", "check-3-3", ("expected a `layer`",), never=("Traceback",))
    assert list(hour.find_faults(scene, said)) == faults


@pytest.mark.parametrize(
    ("said", "faults"),
    [
        pytest.param(GREEN, [], id="passed"),
        pytest.param(RED, ["when put right, it ends with failed"], id="failed"),
        pytest.param("Stopped.", ["when put right, it ends with nothing"], id="no table"),
    ],
)
def test_faults_of_what_is_put_right(said: str, faults: list[str]) -> None:
    assert list(hour.find_end_faults(Scene("one", "A mistake", "check-3-3", ("x",)), said)) == faults


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        pytest.param(RED, "failed: LoRALayer can be created. Expected a layer; found none.", id="red"),
        pytest.param("○ not yet\nNot begun yet.", "not yet: Not begun yet.", id="a sentence"),
        pytest.param("Stopped.\nNothing was checked.", "Stopped. Nothing was checked.", id="no table"),
    ],
)
def test_the_first_line_of_a_verdict(said: str, verdict: str) -> None:
    assert hour.find_verdict(said) == verdict
