"""The kit holds what students need to check their work, and nothing that is for staff only."""

import ast
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from grader.authoring import kit
from grader.authoring.kit import FOLDER, build_kit
from grader.errors import GraderError

ROOT = Path(__file__).parents[3]

SMALL_REPOSITORY = {
    "student_template/assignment.ipynb": "{}",
    "student_template/README.md": "handout, due {{deadline}}",
    "student_template/course.toml": 'hand_in = {canvas = "", deadline = "1 May"}\nkit = {address = ""}',
    "README.md": "for staff",
    "grader/__init__.py": "",
    "grader/__main__.py": "import grader.student, grader.cli.batch",
    "grader/student.py": 'from grader.assets import read\nread("data.json")',
    "grader/cli/batch.py": "import grader.policy",
    "grader/policy.py": "",
    "grader/assets/__init__.py": "read = open",
    "grader/assets/__main__.py": 'DATA = "data.json"',
    "grader/assets/data.json": "{}",
    "grader/assets/other.json": "{}",
    "grader/authoring/template.py": "",
    "tests/conftest.py": "",
    "tests/public/test_step1.py": "def test_count(): ...",
    "tests/hidden/test_more.py": "def test_secret(): ...",
    "reference/solution.ipynb": "{}",
    "grader/packages.py": "",
    "Makefile": "check:",
    "pyproject.toml": "[project]\ndependencies = []",
    "requirements.lock": "mypy==1",
    "student_template/notebook.lock": "jupyterlab==4",
}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository, so that each test can spoil it in one way."""
    monkeypatch.setattr(kit, "TEXTS", ("Makefile", "requirements.lock"))
    for name, content in SMALL_REPOSITORY.items():
        put(tmp_path / "repository" / name, content)
    return tmp_path / "repository"


def put(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


class TestContents:
    def test_what_students_start_gets_in_with_what_that_needs(self, repository: Path, tmp_path: Path) -> None:
        for litter in ("__pycache__/x.pyc", ".DS_Store"):
            put(repository / "tests" / "public" / litter)
        names = build_kit(repository, tmp_path / "kit.zip")
        assert [name.removeprefix(f"{FOLDER}/") for name in names] == [
            *("Makefile", "README.md", "assignment.ipynb", "grader/__init__.py", "grader/__main__.py"),
            *("grader/assets/__init__.py", "grader/assets/__main__.py", "grader/assets/data.json"),
            *("grader/packages.py", "grader/student.py"),
            *("requirements.lock", "tests/conftest.py", "tests/public/test_step1.py"),
        ]
        with zipfile.ZipFile(tmp_path / "kit.zip") as archive:
            assert (tuple(archive.namelist()), archive.read(f"{FOLDER}/README.md")) == (names, b"handout, due 1 May")
            assert archive.read(f"{FOLDER}/requirements.lock").endswith(b".\njupyterlab==4\n")

    def test_same_files_give_the_same_bytes(self, repository: Path, tmp_path: Path) -> None:
        build_kit(repository, tmp_path / "first.zip")
        moved = shutil.copytree(repository, tmp_path / "elsewhere", copy_function=shutil.copyfile)
        os.utime(moved / "Makefile", (0, 0))
        (moved / "Makefile").chmod(0o600)
        build_kit(moved, tmp_path / "folder" / "second.zip")
        assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "folder" / "second.zip").read_bytes()


REFUSED: dict[
    str, tuple[dict[str, str | Path | None], str]
] = {  # text of a file, target of a link, nothing: a file goes
    "a module that names hidden tests": ({"grader/student.py": 'SECRET = "tests/hidden"'}, "staff only"),
    "a module that names the solution": ({"grader/student.py": 'READ = "reference/solution.ipynb"'}, "staff only"),
    "a link to a file of staff": ({"tests/public/test_x.py": Path("tests/hidden/test_more.py")}, "staff only"),
    "a link to a folder of staff": ({"tests/public": Path("tests/hidden")}, "tests/public"),
    "a link that leads out": ({"../x.md": "", "tests/public/x.md": Path("../x.md")}, "out of the repository"),
    "a folder called hidden": ({"tests/public/hidden/test_x.py": ""}, "tests/public/hidden/test_x.py"),
    "a file called hidden": ({"tests/public/hidden.py": ""}, "tests/public/hidden.py"),
    "reviews": ({"tests/public/heldout.csv": ""}, "not of a kind"),
    "weights": ({"tests/public/base.safetensors": ""}, "not of a kind"),
    "a text is missing": ({"Makefile": None}, "Makefile"),
    "tests are missing": ({"tests/public/test_step1.py": None}, "tests"),
    "the notebook is missing": ({"student_template/assignment.ipynb": None}, "student_template"),
}


@pytest.mark.parametrize(("changes", "words"), REFUSED.values(), ids=REFUSED)
def test_refusals(changes: dict[str, str | Path | None], words: str, repository: Path, tmp_path: Path) -> None:
    for name, change in changes.items():
        if change is None:
            (repository / name).unlink()
        elif isinstance(change, Path):
            link(repository / name, repository / change)
        else:
            put(repository / name, change)
    with pytest.raises(GraderError, match=re.escape(words)):
        build_kit(repository, tmp_path / "kit.zip")
    assert not (tmp_path / "kit.zip").exists()


def test_place_that_cannot_be_written(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(GraderError, match="name another file"):
        build_kit(repository, tmp_path)


def link(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("this system does not let ordinary users make links")


@pytest.fixture(scope="module")
def real_kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kit of this repository, unpacked."""
    folder = tmp_path_factory.mktemp("kit")
    build_kit(ROOT, folder / "kit.zip")
    with zipfile.ZipFile(folder / "kit.zip") as archive:
        archive.extractall(folder)
    return folder / FOLDER


class TestRealKit:
    def test_has_what_the_handout_promises_and_no_other_tests(self, real_kit: Path) -> None:
        texts = ("assignment.ipynb", "README.md", "requirements.lock", "Makefile", "autograder")
        names = (*texts, "grader/student/__init__.py", "grader/__main__.py")
        assert [name for name in names if not (real_kit / name).is_file()] == []
        assert {path.parts[-2] for path in real_kit.glob("tests/*/*.py")} == {"public"}
        with zipfile.ZipFile(real_kit.parent / "kit.zip") as archive:
            started = [entry.filename for entry in archive.infolist() if entry.external_attr >> 16 & 0o111]
        assert started == [f"{FOLDER}/autograder"]

    def test_has_no_file_of_staff(self, real_kit: Path) -> None:
        staff = {path.read_bytes() for folder in ("tests/hidden", "reference") for path in source_files(ROOT / folder)}
        assert staff, "without files of staff to look for, this says nothing"
        assert [path for path in source_files(real_kit) if path.read_bytes() in staff and path.stat().st_size] == []

    def test_has_no_text_of_hidden_tests(self, real_kit: Path) -> None:
        hidden, public = (set(telling_words(ROOT / "tests" / name)) for name in ("hidden", "public"))
        assert hidden - public, "without hidden text to look for, this says nothing"
        text = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in source_files(real_kit))
        assert [words for words in hidden - public if re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text)] == []

    def test_every_module_that_is_imported_at_once_is_there(self, real_kit: Path) -> None:
        missing = {
            (path.relative_to(real_kit).as_posix(), module)
            for path in real_kit.rglob("*.py")
            for module in imported_at_once(path)
            if not is_module(real_kit, module)
        }
        assert missing == set()


def source_files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def telling_words(folder: Path) -> Iterator[str]:
    """What gives tests away: their names and, line by line, their texts, as far as these are too long for chance."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield node.name
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from (line.strip() for line in node.value.splitlines() if len(line.strip()) >= 30)


def imported_at_once(path: Path) -> Iterator[str]:
    """Modules of the grader that the module at `path` imports on its own level, not inside a function."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def is_module(root: Path, name: str) -> bool:
    """Whether `root` holds the module, or it is none of the grader's."""
    path = root.joinpath(*name.split("."))
    return not name.startswith("grader") or path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
