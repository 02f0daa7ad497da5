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
    "student_template/README.md": "handout",
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
    "Makefile": "check:",
}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository, so that each test can spoil it in one way."""
    monkeypatch.setattr(kit, "TEXTS", ("Makefile",))
    for name, content in SMALL_REPOSITORY.items():
        put(tmp_path / "repository" / name, content)
    return tmp_path / "repository"


def put(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


class TestContents:
    def test_what_students_start_gets_in_with_what_that_needs(self, repository: Path, tmp_path: Path) -> None:
        names = build_kit(repository, tmp_path / "kit.zip")
        assert [name.removeprefix(f"{FOLDER}/") for name in names] == [
            "Makefile",
            "README.md",
            "assignment.ipynb",
            "grader/__init__.py",
            "grader/__main__.py",
            "grader/assets/__init__.py",
            "grader/assets/__main__.py",
            "grader/assets/data.json",
            "grader/student.py",
            "tests/conftest.py",
            "tests/public/test_step1.py",
        ]
        with zipfile.ZipFile(tmp_path / "kit.zip") as archive:
            assert tuple(archive.namelist()) == names
            assert archive.read(f"{FOLDER}/README.md") == b"handout"

    def test_same_files_give_the_same_bytes(self, repository: Path, tmp_path: Path) -> None:
        build_kit(repository, tmp_path / "first.zip")
        moved = shutil.copytree(repository, tmp_path / "elsewhere", copy_function=shutil.copyfile)
        os.utime(moved / "Makefile", (0, 0))
        (moved / "Makefile").chmod(0o600)
        build_kit(moved, tmp_path / "folder" / "second.zip")
        assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "folder" / "second.zip").read_bytes()

    @pytest.mark.parametrize("name", ["tests/public/__pycache__/x.pyc", "tests/public/.DS_Store"])
    def test_litter_is_left_out(self, repository: Path, tmp_path: Path, name: str) -> None:
        put(repository / name)
        assert f"{FOLDER}/{name}" not in build_kit(repository, tmp_path / "kit.zip")


class TestRefusals:
    @pytest.mark.parametrize("part", ["tests/hidden", "reference/solution.ipynb"])
    def test_module_that_names_what_is_for_staff(self, repository: Path, tmp_path: Path, part: str) -> None:
        put(repository / "grader" / "student.py", f'SECRET = "{part}"')
        with pytest.raises(GraderError, match="staff only"):
            build_kit(repository, tmp_path / "kit.zip")
        assert not (tmp_path / "kit.zip").exists()

    def test_link_to_a_file_of_staff(self, repository: Path, tmp_path: Path) -> None:
        link(repository / "tests" / "public" / "test_linked.py", repository / "tests" / "hidden" / "test_more.py")
        with pytest.raises(GraderError, match="staff only"):
            build_kit(repository, tmp_path / "kit.zip")

    def test_link_to_a_folder_of_staff(self, repository: Path, tmp_path: Path) -> None:
        shutil.rmtree(repository / "tests" / "public")
        link(repository / "tests" / "public", repository / "tests" / "hidden")
        with pytest.raises(GraderError, match="tests/public"):
            build_kit(repository, tmp_path / "kit.zip")

    def test_link_out_of_the_repository(self, repository: Path, tmp_path: Path) -> None:
        link(repository / "tests" / "public" / "notes.md", put(tmp_path / "notes.md"))
        with pytest.raises(GraderError, match="out of the repository"):
            build_kit(repository, tmp_path / "kit.zip")

    @pytest.mark.parametrize("name", ["tests/public/hidden/test_x.py", "tests/public/hidden.py"])
    def test_anything_called_hidden(self, repository: Path, tmp_path: Path, name: str) -> None:
        put(repository / name)
        with pytest.raises(GraderError, match=re.escape(name)):
            build_kit(repository, tmp_path / "kit.zip")

    @pytest.mark.parametrize("name", ["tests/public/heldout.csv", "tests/public/base.safetensors"])
    def test_kind_of_file_that_no_kit_needs(self, repository: Path, tmp_path: Path, name: str) -> None:
        put(repository / name)
        with pytest.raises(GraderError, match="not of a kind"):
            build_kit(repository, tmp_path / "kit.zip")

    @pytest.mark.parametrize("name", ["Makefile", "tests/public/test_step1.py", "student_template/assignment.ipynb"])
    def test_missing_part_is_named(self, repository: Path, tmp_path: Path, name: str) -> None:
        (repository / name).unlink()
        with pytest.raises(GraderError, match=Path(name).parts[0]):
            build_kit(repository, tmp_path / "kit.zip")

    def test_place_that_cannot_be_written(self, repository: Path, tmp_path: Path) -> None:
        with pytest.raises(GraderError, match="name another file"):
            build_kit(repository, tmp_path)


def link(path: Path, target: Path) -> None:
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
    @pytest.mark.parametrize(
        "name",
        [
            "assignment.ipynb",
            "README.md",
            "requirements.lock",
            "Makefile",
            "autograder",
            "grader/student.py",
            "grader/__main__.py",
        ],
    )
    def test_has_what_the_handout_promises(self, real_kit: Path, name: str) -> None:
        assert (real_kit / name).is_file()

    def test_can_be_started_as_unpacked(self, real_kit: Path) -> None:
        with zipfile.ZipFile(real_kit.parent / "kit.zip") as archive:
            started = [entry.filename for entry in archive.infolist() if entry.external_attr >> 16 & 0o111]
        assert started == [f"{FOLDER}/autograder"]

    def test_has_the_public_tests_and_no_other(self, real_kit: Path) -> None:
        assert {path.parts[-2] for path in real_kit.glob("tests/*/*.py")} == {"public"}

    def test_has_no_file_of_staff(self, real_kit: Path) -> None:
        staff = {path.read_bytes() for folder in ("tests/hidden", "reference") for path in source_files(ROOT / folder)}
        assert staff, "without files of staff to look for, this says nothing"
        assert [path for path in source_files(real_kit) if path.read_bytes() in staff and path.stat().st_size] == []

    def test_has_no_text_of_hidden_tests(self, real_kit: Path) -> None:
        hidden, public = (set(telling_words(ROOT / "tests" / name)) for name in ("hidden", "public"))
        assert hidden - public, "without hidden text to look for, this says nothing"
        text = "\n".join(path.read_text(encoding="utf-8") for path in source_files(real_kit))
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
