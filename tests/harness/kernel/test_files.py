"""Files where the notebook thinks they are."""

import builtins
import functools
import glob
import inspect
import io
import os
import pkgutil
import posixpath
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import transformers
from IPython.core import interactiveshell

from grader.kernel.compat import files
from grader.kernel.compat.files import InputFiles
from grader.kernel.wrapping import wrap


@pytest.fixture
def found(tmp_path: Path) -> InputFiles:
    """Two data files, and a folder for the run beside them."""
    data, work = tmp_path / "data", tmp_path / "work"
    data.mkdir()
    work.mkdir()
    for name in ("train.csv", "eval.csv"):
        (data / name).write_text(f"review,label\n{name},1\n", encoding="utf-8")
    return InputFiles({name: str(data / name) for name in ("train.csv", "eval.csv")}, str(work))


READ = [
    pytest.param("train.csv", "train.csv", id="here"),
    pytest.param("/mounted/drive/MyDrive/DAT450/a4/train.csv", "train.csv", id="mounted-drive"),
    pytest.param("..\\data\\eval.csv", "eval.csv", id="windows-relative"),
    pytest.param("C:\\Users\\Emma\\A4\\eval.csv", "eval.csv", id="windows-absolute"),
    pytest.param("C:/Users/Emma/A4/eval.csv", "eval.csv", id="windows-slashes"),
    pytest.param("./Data/Train.csv", "train.csv", id="capitals"),
    pytest.param("https://example.org/a4/train.csv", "train.csv", id="address"),
    pytest.param(Path("/kaggle/input/eval.csv"), "eval.csv", id="path-object"),
]


@pytest.mark.parametrize(("asked", "name"), READ)
def test_a_data_file_is_found_by_its_base_name(found: InputFiles, asked: object, name: str) -> None:
    assert os.fspath(found.locate(asked)) == found.inputs[name]
    assert isinstance(found.locate(asked), Path) is isinstance(asked, Path)


@pytest.mark.parametrize("asked", ["reviews.csv", "/mounted/other.csv", 3, None, b"train.csv"])
def test_what_is_no_data_file_is_left_alone(found: InputFiles, asked: object) -> None:
    assert found.locate(asked) is asked


def test_what_exists_is_left_alone(found: InputFiles, tmp_path: Path) -> None:
    own = tmp_path / "train.csv"
    own.write_text("mine", encoding="utf-8")
    assert found.locate(str(own)) == str(own)
    assert found.place(str(own)) == str(own)


def test_nested_data_files_are_all_found(found: InputFiles) -> None:
    asked = {"train": ["/mounted/train.csv"], "test": "/mounted/eval.csv"}
    assert found.locate_all(asked) == {"train": [found.inputs["train.csv"]], "test": found.inputs["eval.csv"]}


WRITTEN = [
    pytest.param("/mounted/drive/MyDrive/out", "elsewhere/mounted/drive/MyDrive/out", id="mounted-drive"),
    pytest.param("C:\\Users\\Emma\\out", "elsewhere/C/Users/Emma/out", id="windows"),
]


@pytest.mark.skipif(os.name == "nt", reason="the paths of the other systems look different there")
@pytest.mark.parametrize(("asked", "placed"), WRITTEN)
def test_a_folder_of_another_machine_becomes_one_of_this_run(found: InputFiles, asked: str, placed: str) -> None:
    assert found.place(asked) == str(found.work / placed)


@pytest.mark.skipif(os.name == "nt", reason="backslashes separate there")
def test_relative_windows_paths_are_paths(found: InputFiles) -> None:
    assert found.place("finetuned\\full") == posixpath.join("finetuned", "full")


@pytest.mark.parametrize("asked", ["out", "finetuned/full", "https://example.org/a\\b"])
def test_relative_folders_are_left_alone(found: InputFiles, asked: str) -> None:
    assert found.place(asked) == asked


@pytest.fixture
def redirected(found: InputFiles, monkeypatch: pytest.MonkeyPatch) -> InputFiles:
    """`open` and its like go through `found` until the test is over."""
    patched: list[tuple[Any, str]] = [(builtins, "open"), (io, "open"), (interactiveshell, "io_open"), (glob, "glob")]
    patched += [(os, name) for name in ("chdir", "listdir", "walk")]
    patched += [(Path, name) for name in ("glob", "rglob", "iterdir", "walk") if hasattr(Path, name)]
    patched += [(getattr(transformers, name), "from_pretrained") for name in files.PRETRAINED]
    for table in (files.READ, files.WRITTEN, files.PLACED):
        patched += [(pkgutil.resolve_name(owner), name) for owner, names in table.items() for name in names]
    for owner, name in patched:
        monkeypatch.setattr(owner, name, inspect.getattr_static(owner, name))  # to be undone
    monkeypatch.chdir(found.work)
    files.redirect(found)
    return found


def test_reading_and_writing_lead_to_different_places(redirected: InputFiles) -> None:
    real = redirected.inputs["train.csv"]
    before = Path(real).read_text(encoding="utf-8")
    with open("/mounted/a4/train.csv", encoding="utf-8") as file:  # noqa: PTH123 - as students write
        assert file.read() == before
    with open("/mounted/a4/train.csv", "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write("my own split")
    assert Path(real).read_text(encoding="utf-8") == before
    assert Path("/mounted/a4/train.csv").read_text(encoding="utf-8") == "my own split"


def test_pathlib_finds_data_files(redirected: InputFiles) -> None:
    path = Path("/mounted/a4/eval.csv")
    assert path.exists()
    assert path.read_text(encoding="utf-8").startswith("review,label")


def test_folders_that_are_not_here(redirected: InputFiles, capsys: pytest.CaptureFixture[str]) -> None:
    os.chdir("/mounted/drive/MyDrive")
    assert Path.cwd() == redirected.work
    assert "no folder '/mounted/drive/MyDrive'" in capsys.readouterr().out
    assert sorted(os.listdir("/mounted/drive/MyDrive")) == ["eval.csv", "train.csv"]  # noqa: PTH208
    assert sorted(map(files.get_base_name, glob.glob("/mounted/*/*.csv"))) == ["eval.csv", "train.csv"]  # noqa: PTH207


LISTED = [
    pytest.param(lambda: [name for _, _, names in os.walk("/kaggle/input") for name in names], id="walk"),
    pytest.param(lambda: [path.name for path in Path("/kaggle/input").glob("*.csv")], id="glob"),
    pytest.param(lambda: [path.name for path in Path("/kaggle/input").rglob("*.csv")], id="rglob"),
    pytest.param(lambda: [path.name for path in Path("/kaggle/input").iterdir()], id="iterdir"),
]


@pytest.mark.parametrize("listed", LISTED)
def test_folders_that_are_not_here_hold_the_data(redirected: InputFiles, listed: Callable[[], list[str]]) -> None:
    assert sorted(listed()) == ["eval.csv", "train.csv"]


def test_folders_of_the_notebook_hold_what_it_put_there(redirected: InputFiles) -> None:
    Path("out").mkdir()
    assert list(Path("out").glob("*.csv")) == []
    assert list(os.walk("out")) == [("out", [], [])]


def test_folders_that_a_command_was_to_make_are_made(redirected: InputFiles) -> None:
    Path("figures/run 1/notes.txt").write_text("mine", encoding="utf-8")  # after `!mkdir -p "figures/run 1"`
    assert Path("figures/run 1/notes.txt").read_text(encoding="utf-8") == "mine"


def test_what_was_made_can_be_renamed_and_removed(redirected: InputFiles) -> None:
    Path("/content/out/full").mkdir(parents=True, exist_ok=True)
    Path("/content/out/full/a.txt").write_text("mine", encoding="utf-8")
    Path("/content/out/full/a.txt").rename("/content/b.txt")
    assert Path("/content/b.txt").read_text(encoding="utf-8") == "mine"
    os.replace("/content/b.txt", "/content/c.txt")  # noqa: PTH105 - as students write
    os.remove("/content/c.txt")  # noqa: PTH107
    Path("/content/out/full").rmdir()
    assert not list((redirected.work / "elsewhere").rglob("*.txt"))


MADE: dict[str, Callable[[], None]] = {
    "mkdir": lambda: os.mkdir("/mounted/out"),  # noqa: PTH102 - as students write
    "mkdir-by-keyword": lambda: os.mkdir(path="/mounted/out", mode=0o755),  # noqa: PTH102
    "makedirs": lambda: os.makedirs("/mounted/out", exist_ok=True),  # noqa: PTH103
    "makedirs-by-keyword": lambda: os.makedirs(name="/mounted/out", exist_ok=True),  # noqa: PTH103
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_folders_are_made_as_the_library_is_called(redirected: InputFiles, make: Callable[[], None]) -> None:
    make()
    assert os.path.isdir("/mounted/out")  # noqa: PTH112
    assert (redirected.work / "elsewhere/mounted/out").is_dir()


DRIVE = "/mounted/drive/MyDrive"
TABLE = pd.DataFrame({"method": ["LoRA"], "accuracy": [0.9]})
SAVED: dict[str, Callable[[], object]] = {
    "to_csv": lambda: TABLE.to_csv(f"{DRIVE}/a4/table", index=False),
    "to_csv-by-keyword": lambda: TABLE.to_csv(path_or_buf=f"{DRIVE}/a4/table"),
    "to_csv-path-object": lambda: TABLE.to_csv(Path(DRIVE) / "a4" / "table"),
    "series": lambda: TABLE["accuracy"].to_csv(f"{DRIVE}/a4/table"),
    "to_json": lambda: TABLE.to_json(f"{DRIVE}/a4/table"),
    "to_pickle": lambda: TABLE.to_pickle(f"{DRIVE}/a4/table"),
    "to_html": lambda: TABLE.to_html(f"{DRIVE}/a4/table"),
    "torch-save": lambda: torch.save({}, f"{DRIVE}/a4/table"),
    "safetensors": lambda: safetensors.torch.save_file({}, f"{DRIVE}/a4/table"),
    "savetxt": lambda: np.savetxt(f"{DRIVE}/a4/table", [1.0]),
    "copy": lambda: shutil.copy("/content/train.csv", f"{DRIVE}/a4/table"),
    "copy2": lambda: shutil.copy2(src="/content/train.csv", dst=f"{DRIVE}/a4/table"),
    "move": lambda: shutil.move("mine", f"{DRIVE}/a4/table"),
    "copytree": lambda: shutil.copytree("out", f"{DRIVE}/a4"),
}


@pytest.mark.parametrize("save", SAVED.values(), ids=SAVED)
def test_what_is_saved_on_a_drive_lies_in_a_folder_of_this_run(
    redirected: InputFiles, save: Callable[[], object]
) -> None:
    for path in (Path("mine"), Path("out/table")):
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine", encoding="utf-8")
    save()
    assert (redirected.work / "elsewhere/mounted/drive/MyDrive/a4/table").stat().st_size > 0


def test_what_was_saved_on_a_drive_is_read_again(redirected: InputFiles) -> None:
    TABLE.to_csv(f"{DRIVE}/table.csv", index=False)
    TABLE.to_pickle(f"{DRIVE}/table.pkl")
    torch.save({"rank": 4}, f"{DRIVE}/adapter.pt")
    safetensors.torch.save_file({"A": torch.ones(2)}, f"{DRIVE}/adapter.safetensors")
    assert safetensors.torch.load_file(f"{DRIVE}/adapter.safetensors")["A"].tolist() == [1, 1]
    np.savetxt(f"{DRIVE}/loss.txt", [1.0, 2.0])
    assert np.loadtxt(f"{DRIVE}/loss.txt").tolist() == [1, 2]
    assert pd.read_csv(f"{DRIVE}/table.csv").equals(TABLE)
    assert pd.read_pickle(f"{DRIVE}/table.pkl").equals(TABLE)
    assert torch.load(f"{DRIVE}/adapter.pt") == {"rank": 4}


def test_sizes_of_data_files(redirected: InputFiles) -> None:
    size = len("review,label\ntrain.csv,1\n")
    assert os.path.getsize("/content/train.csv") == Path("/content/train.csv").stat().st_size == size  # noqa: PTH202


def test_archives_of_what_was_saved(redirected: InputFiles) -> None:
    os.makedirs(f"{DRIVE}/model", exist_ok=True)  # noqa: PTH103 - as students write
    torch.save({}, f"{DRIVE}/model/weights.pt")
    made = shutil.make_archive(f"{DRIVE}/model", "zip", f"{DRIVE}/model")
    assert Path(made).is_relative_to(redirected.work)
    shutil.rmtree(f"{DRIVE}/model")
    assert not Path(f"{DRIVE}/model").exists()


def test_data_files_are_never_removed(redirected: InputFiles) -> None:
    shutil.rmtree("/content/train.csv", ignore_errors=True)
    with pytest.raises(OSError, match=r"train\.csv"):
        os.remove("/content/train.csv")  # noqa: PTH107 - as students write
    with pytest.raises(OSError, match=r"train\.csv"):
        shutil.move("/content/train.csv", "mine.csv")
    assert Path(redirected.inputs["train.csv"]).is_file()


NAME = "distilbert-base-uncased"
LOADED = [
    pytest.param((NAME,), {}, {}, id="by-position"),
    pytest.param((), {"pretrained_model_name_or_path": NAME}, {}, id="by-keyword"),
    pytest.param((NAME,), {"num_labels": 2}, {"num_labels": 2}, id="with-labels"),
    pytest.param((NAME,), {"cache_dir": "./cache"}, {}, id="cache-folder"),
    pytest.param((NAME,), {"force_download": True}, {}, id="download-again"),
    pytest.param((NAME,), {"token": True, "use_auth_token": True}, {}, id="account"),
]


@pytest.mark.parametrize(("args", "kwargs", "kept"), LOADED)
def test_models_are_loaded_from_what_is_here(found: InputFiles, args: Any, kwargs: Any, kept: Any) -> None:
    class Model:
        @classmethod
        def from_pretrained(cls, pretrained_model_name_or_path: str, *args: Any, **kwargs: Any) -> Any:
            return cls, pretrained_model_name_or_path, args, kwargs

    wrap(Model, "from_pretrained", functools.partial(files._load_pretrained, found))
    assert Model.from_pretrained(*args, **kwargs) == (Model, NAME, (), kept)
