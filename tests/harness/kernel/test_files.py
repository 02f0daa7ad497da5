"""Files where the notebook thinks they are, and downloads of the course's files without a network."""

import builtins
import functools
import glob
import inspect
import io
import os
import pkgutil
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
import safetensors.torch
import torch
from IPython.core import interactiveshell

from grader.kernel.compat import downloads, files, hub_names
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


READ: dict[str, tuple[object, str]] = {
    "here": ("train.csv", "train.csv"),
    "mounted drive": ("/mounted/drive/MyDrive/DAT450/a4/train.csv", "train.csv"),
    "windows, relative": ("..\\data\\eval.csv", "eval.csv"),
    "windows, absolute": ("C:\\Users\\Emma\\A4\\eval.csv", "eval.csv"),
    "windows, slashes": ("C:/Users/Emma/A4/eval.csv", "eval.csv"),
    "capitals": ("./Data/Train.csv", "train.csv"),
    "address": ("https://example.org/a4/train.csv", "train.csv"),
    "path object": (Path("/kaggle/input/eval.csv"), "eval.csv"),
    "second download": ("train (1).csv", "train.csv"),
    "second download of Firefox": ("train(1).csv", "train.csv"),
    "second download of Safari": ("data/train-2.csv", "train.csv"),
    "copy in Windows": ("C:\\Users\\Emma\\eval - Copy (2).csv", "eval.csv"),
    "copy in macOS": ("eval copy 3.csv", "eval.csv"),
    "copy in a drive": ("/content/drive/MyDrive/Kopia av train.csv", "train.csv"),
    "download of wget": ("train.csv.1", "train.csv"),
    "text file": ("eval.csv.txt", "eval.csv"),
}


@pytest.mark.parametrize(("asked", "name"), READ.values(), ids=READ)
def test_a_data_file_is_found_by_its_base_name(found: InputFiles, asked: object, name: str) -> None:
    assert os.fspath(found.locate(asked)) == found.inputs[name]
    assert isinstance(found.locate(asked), Path) is isinstance(asked, Path)


@pytest.mark.parametrize(
    "asked", ["reviews.csv", "/mounted/other.csv", "train_small.csv", "trainer.csv", "train", 3, None, b"train.csv"]
)
def test_what_is_no_data_file_is_left_alone(found: InputFiles, asked: object) -> None:
    assert found.locate(asked) is asked


def test_what_exists_is_left_alone(found: InputFiles, tmp_path: Path) -> None:
    own = str(tmp_path / "train.csv")
    Path(own).write_text("mine", encoding="utf-8")
    assert (found.locate(own), found.place(own)) == (own, own)


def test_nested_data_files_are_all_found(found: InputFiles) -> None:
    asked = {"train": ["/mounted/train.csv"], "test": "/mounted/eval.csv"}
    assert found.locate_all(asked) == {"train": [found.inputs["train.csv"]], "test": found.inputs["eval.csv"]}


PLACED = {  # {} is the folder of this run
    "/mounted/drive/MyDrive/out": "{}/elsewhere/mounted/drive/MyDrive/out",
    "C:\\Users\\Emma\\out": "{}/elsewhere/C/Users/Emma/out",
    "finetuned\\full": "finetuned/full",
    "finetuned/full": "finetuned/full",
    "out": "out",
    "https://example.org/a\\b": "https://example.org/a\\b",
}


@pytest.mark.skipif(os.name == "nt", reason="the paths of the other systems look different there")
@pytest.mark.parametrize(("asked", "placed"), PLACED.items())
def test_a_folder_of_another_machine_becomes_one_of_this_run(found: InputFiles, asked: str, placed: str) -> None:
    assert found.place(asked) == placed.format(found.work)


@pytest.fixture
def redirected(found: InputFiles, monkeypatch: pytest.MonkeyPatch) -> InputFiles:
    """`open` and its like go through `found` until the test is over."""
    patched: list[tuple[Any, str]] = [(builtins, "open"), (io, "open"), (interactiveshell, "io_open"), (glob, "glob")]
    patched += [(os, name) for name in ("chdir", "listdir", "walk")]
    patched += [(Path, name) for name in ("glob", "rglob", "iterdir", "walk") if hasattr(Path, name)]
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
    assert os.path.getsize(path) == path.stat().st_size == len("review,label\neval.csv,1\n")  # noqa: PTH202


def test_folders_that_are_not_here(redirected: InputFiles, capsys: pytest.CaptureFixture[str]) -> None:
    os.chdir("/mounted/drive/MyDrive")
    assert Path.cwd() == redirected.work
    assert "no folder '/mounted/drive/MyDrive'" in capsys.readouterr().out


LISTED: dict[str, Callable[[], list[str]]] = {
    "listdir": lambda: os.listdir("/mounted/drive/MyDrive"),  # noqa: PTH208 - as students write
    "glob.glob": lambda: [files.get_base_name(path) for path in glob.glob("/mounted/*/*.csv")],  # noqa: PTH207
    "walk": lambda: [name for _, _, names in os.walk("/kaggle/input") for name in names],
    "glob": lambda: [path.name for path in Path("/kaggle/input").glob("*.csv")],
    "rglob": lambda: [path.name for path in Path("/kaggle/input").rglob("*.csv")],
    "iterdir": lambda: [path.name for path in Path("/kaggle/input").iterdir()],
}


@pytest.mark.parametrize("listed", LISTED.values(), ids=LISTED)
def test_folders_that_are_not_here_hold_the_data(redirected: InputFiles, listed: Callable[[], list[str]]) -> None:
    assert sorted(listed()) == ["eval.csv", "train.csv"]


def test_folders_of_the_notebook_hold_what_it_put_there(redirected: InputFiles) -> None:
    Path("out").mkdir()
    assert list(Path("out").glob("*.csv")) == []
    assert list(os.walk("out")) == [("out", [], [])]
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


def test_folders_are_made_as_the_library_is_called(redirected: InputFiles) -> None:
    os.mkdir("/mounted/a")  # noqa: PTH102 - as students write
    os.mkdir(path="/mounted/b", mode=0o755)  # noqa: PTH102
    os.makedirs("/mounted/c", exist_ok=True)  # noqa: PTH103
    os.makedirs(name="/mounted/d", exist_ok=True)  # noqa: PTH103
    assert all(os.path.isdir(f"/mounted/{name}") for name in "abcd")  # noqa: PTH112
    assert all((redirected.work / "elsewhere" / "mounted" / name).is_dir() for name in "abcd")


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
LOADED: dict[str, tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]] = {
    "by position": ((NAME,), {}, {}),
    "by keyword": ((), {"pretrained_model_name_or_path": NAME}, {}),
    "with labels": ((NAME,), {"num_labels": 2}, {"num_labels": 2}),
    "cache folder": ((NAME,), {"cache_dir": "./cache"}, {}),
    "download again": ((NAME,), {"force_download": True}, {}),
    "account": ((NAME,), {"token": True, "use_auth_token": True}, {}),
}


@pytest.mark.parametrize(("args", "kwargs", "kept"), LOADED.values(), ids=LOADED)
def test_models_are_loaded_from_what_is_here(found: InputFiles, args: Any, kwargs: Any, kept: Any) -> None:
    class Model:
        @classmethod
        def from_pretrained(cls, pretrained_model_name_or_path: str, *args: Any, **kwargs: Any) -> Any:
            return cls, pretrained_model_name_or_path, args, kwargs

    wrap(Model, "from_pretrained", functools.partial(hub_names._load_pretrained, found))
    assert Model.from_pretrained(*args, **kwargs) == (Model, NAME, (), kept)


ADDRESS = "https://course.example/a4/Train.csv?raw=true"


@pytest.fixture
def text(found: InputFiles, monkeypatch: pytest.MonkeyPatch) -> str:
    """What lies in a file that can be downloaded without a network, until the test is over."""
    for owner, name in ((urllib.request, "urlretrieve"), (requests, "get")):
        monkeypatch.setattr(owner, name, lambda url, *args, **kwargs: "asked the network")
    downloads.redirect(found)
    return Path(found.inputs["train.csv"]).read_text(encoding="utf-8")


@pytest.mark.parametrize("onto", ["work/mine.csv", None, "data/train.csv"], ids=["a file", "none", "the file itself"])
def test_urlretrieve(text: str, tmp_path: Path, onto: str | None) -> None:
    saved, _ = urllib.request.urlretrieve(ADDRESS, filename=onto and str(tmp_path / onto))
    assert Path(saved).read_text(encoding="utf-8") == text


def test_requests(text: str) -> None:
    with requests.get(url=ADDRESS, stream=True, timeout=5) as response:
        response.raise_for_status()
        assert (response.ok, response.text, response.content) == (True, text, text.encode())
        assert b"".join(response.iter_content(4)) == text.encode()


@pytest.mark.usefixtures("text")
@pytest.mark.parametrize("address", ["https://course.example/other.csv", "https://course.example/", None])
def test_other_addresses_are_asked_of_the_network(address: str | None) -> None:
    assert requests.get(address, timeout=5) == "asked the network"
    assert urllib.request.urlretrieve(address) == "asked the network"
