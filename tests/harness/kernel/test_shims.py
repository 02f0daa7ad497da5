"""Older names, packages that are not here, GPUs that are not here, and what is not Python."""

import importlib
import inspect
import io
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import IPython.core.display
import IPython.display
import matplotlib.style
import numpy as np
import pandas as pd
import pytest
import torch
import tqdm.contrib.concurrent
import tqdm.notebook
import transformers
from torch import nn

from grader.kernel.compat import cells, deprecated_api, offline_datasets, stub_packages, uploads
from grader.kernel.compat.files import InputFiles
from grader.kernel.compat.stub_packages import NOTHING

KNOWN = frozenset(
    ("output_dir", "eval_strategy", "use_cpu", "warmup_steps", "fp16", "train_sampling_strategy", "report_to", "optim")
)
ARGUMENTS: list[Any] = [
    pytest.param({"evaluation_strategy": "epoch"}, {"eval_strategy": "epoch"}, id="renamed"),
    pytest.param({"no_cuda": True}, {"use_cpu": True}, id="no_cuda"),
    pytest.param({"warmup_ratio": 0.1}, {"warmup_steps": 0.1}, id="a-ratio-of-steps"),
    pytest.param({"warmup_ratio": 0.0, "warmup_steps": 50}, {"warmup_steps": 50}, id="no-ratio"),
    pytest.param({"group_by_length": True}, {"train_sampling_strategy": "group_by_length"}, id="by-length"),
    pytest.param({"overwrite_output_dir": True, "logging_dir": "logs"}, {}, id="dropped"),
    pytest.param({"torch_compile": True}, {}, id="not-compiled"),
    pytest.param({"optim": "adamw_hf"}, {"optim": "adamw_torch"}, id="optimiser-of-old"),
    pytest.param({"optim": "paged_adamw_8bit"}, {"optim": "adamw_torch"}, id="optimiser-in-8-bits"),
    pytest.param({"optim": "adafactor"}, {"optim": "adafactor"}, id="another-optimiser"),
    pytest.param({"evaluation_strategy": "no", "eval_strategy": "epoch"}, {"eval_strategy": "epoch"}, id="both"),
    pytest.param({"fp16": True}, {"fp16": True} if torch.cuda.is_available() else {}, id="half-precision"),
]


@pytest.mark.parametrize(("given", "expected"), ARGUMENTS)
def test_training_arguments_of_other_versions(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert deprecated_api.translate_arguments(given, KNOWN) == expected | {"report_to": "none", "push_to_hub": False}


@pytest.mark.parametrize(
    ("asked", "taken"),
    [("flash_attention_2", None), ("kernels-community/flash-attn", None), ("sdpa", "sdpa"), (None, None)],
)
def test_attention_of_a_package_that_is_not_here(asked: str | None, taken: str | None) -> None:
    assert inspect.isfunction(transformers.PreTrainedModel._check_and_adjust_attn_implementation)
    assert deprecated_api._choose_attention(lambda self, kind: kind, None, asked) == taken


class Recent:
    """A Trainer of the installed version, with methods as written for version 4, for version 5 and by the careful."""

    def __init__(self) -> None:
        for name, extra in deprecated_api.LATER.items():
            deprecated_api._drop_extra(self, name, extra)

    def compute_loss(self, model: Any, inputs: Any) -> tuple[Any, ...]:
        return model, inputs

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> tuple[Any, ...]:
        return model, inputs, num_items_in_batch

    def log(self, *args: Any) -> tuple[Any, ...]:
        return args


def test_methods_get_the_arguments_they_know() -> None:
    trainer = Recent()
    assert trainer.compute_loss(1, 2, num_items_in_batch=3) == (1, 2)  # type: ignore[call-arg]
    assert trainer.training_step(1, 2, 3) == (1, 2, 3)
    assert trainer.log(1, 2) == (1, 2)


def test_the_optimiser_that_transformers_had() -> None:
    parameters = nn.Linear(2, 2).parameters()
    optimizer = deprecated_api.AdamW(parameters, lr=1e-3, correct_bias=False, no_deprecation_warning=True)
    assert optimizer.defaults["weight_decay"] == 0
    assert isinstance(optimizer, torch.optim.AdamW)


PROGRESS = ("tqdm", "tqdm_notebook", "trange", "tnrange")
CSV = b"review,label\n\xc3\xa5,1\n"


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Decorative packages can be imported until the test is over. There is one data file, train.csv."""
    (tmp_path / "train.csv").write_bytes(CSV)
    for owner, names in ((tqdm.notebook, PROGRESS), (huggingface_hub, ("login", "logout"))):
        for name in names:
            monkeypatch.setattr(owner, name, getattr(owner, name))  # to be undone
    for name in ("notebook_login", "interpreter_login"):
        monkeypatch.setattr(huggingface_hub, name, None)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    before = set(sys.modules)
    stub_packages.install()
    uploads.redirect(InputFiles({"train.csv": str(tmp_path / "train.csv")}), asked=1)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def is_stub(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and isinstance(spec.loader, stub_packages.StubFinder)


def run(source: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    return namespace["it"]


DECORATIVE = ("google.colab.drive", "plotly.express", "kaggle_secrets", "torchinfo", "torch.utils.tensorboard.writer")


@pytest.mark.parametrize("name", ["wandb", *DECORATIVE])
@pytest.mark.usefixtures("stubs")
def test_decorative_packages_can_be_imported(name: str) -> None:
    if is_stub(name):
        assert importlib.import_module(name).anything("at all") is NOTHING
    with pytest.raises(ModuleNotFoundError):  # packages that do work are missed
        importlib.import_module("peft_of_nobody")


@pytest.mark.usefixtures("stubs")
def test_an_upload_in_colab_gives_the_data_files() -> None:
    uploaded = run("from google.colab import files\nit = files.upload()\nfiles.download('figures.csv')")
    assert uploaded == {"train.csv": CSV}
    table = pd.read_csv(io.BytesIO(uploaded["train.csv"]))
    assert table.to_dict("list") == {"review": ["å"], "label": [1]}


@pytest.mark.usefixtures("stubs")
def test_what_the_documentation_imports_with_a_star() -> None:
    if is_stub("pynvml"):
        used = run("from pynvml import *\nit = nvmlDeviceGetMemoryInfo(nvmlDeviceGetHandleByIndex(0)).used")
        assert used is NOTHING


def test_nothing_takes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", NOTHING.get("HF_TOKEN"))  # os.environ wants text
    assert os.environ["TOKEN"] == ""
    with NOTHING.init(project="a4") as run:
        run.log({"loss": 1})
        run.config["lr"] = 1e-3
        run.summary.best = 3
    assert list(NOTHING.items()) == []
    assert f"{NOTHING.loss:.3f}" == ""
    assert "GPU: " + NOTHING.name + "!" == "GPU: !"


def test_nothing_can_be_calculated_with() -> None:
    shares = (NOTHING.score, NOTHING.used // 1024**2, 100 * NOTHING.used / NOTHING.total)
    sums = (1 - NOTHING.free, round(NOTHING.used / 2**30, 1), sum([NOTHING.used, NOTHING.free]))
    assert [float(value) for value in (*shares, *sums)] == [0] * 6


def test_nothing_leaves_decorated_functions_as_they_are_and_has_no_protocols() -> None:
    assert NOTHING.interact(test_nothing_takes_everything) is test_nothing_takes_everything
    assert not hasattr(NOTHING, "__array__")
    assert not hasattr(stub_packages.StubModule("wandb"), "__file__")


def test_progress_in_several_threads_shares_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` maps over files with `thread_map`: two reads at a time met a lock that was gone."""
    for name in PROGRESS:
        monkeypatch.setattr(tqdm.notebook, name, getattr(tqdm.notebook, name))
    monkeypatch.delattr(tqdm.tqdm, "_lock", raising=False)
    stub_packages._simplify_progress_bars()
    with tqdm.contrib.concurrent.ensure_lock(datasets.utils.tqdm):
        pass
    assert hasattr(datasets.utils.tqdm, "_lock")


@pytest.fixture
def old_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that libraries have dropped are there until the test is over."""
    for path, names in deprecated_api.list_old_names().items():
        owner = pkgutil.resolve_name(path)
        for name in [name for name in names if inspect.getattr_static(owner, name, None) is None]:
            monkeypatch.setattr(owner, name, None, raising=False)  # to be undone
    deprecated_api.restore_names()


OLD: dict[str, tuple[Callable[[], Any], Any]] = {
    "numpy product": (lambda: np.product([2, 3]), 6),
    "numpy float": (lambda: np.float(1), 1.0),
    "row": (lambda: pd.DataFrame({"a": [1]}).append({"a": 2}, ignore_index=True)["a"].tolist(), [1, 2]),
    "to an empty table": (lambda: pd.DataFrame().append(pd.DataFrame({"a": [1]}))["a"].tolist(), [1]),
    "column": (lambda: pd.Series([1]).append(pd.Series([2])).tolist(), [1, 2]),
    "items": (lambda: dict(pd.Series({"a": 1}).iteritems()), {"a": 1}),
    "cell by cell": (lambda: pd.DataFrame({"a": [1]}).applymap(str)["a"].tolist(), ["1"]),
    "style": (lambda: matplotlib.style.use("seaborn-whitegrid"), None),
    "display": (lambda: IPython.core.display.display is IPython.display.display, True),
    "optimiser": (lambda: importlib.import_module("transformers").AdamW, deprecated_api.AdamW),
    "tokenizer": (lambda: isinstance(transformers.Trainer.tokenizer, property), True),
}


@pytest.mark.parametrize(("call", "expected"), OLD.values(), ids=OLD)
@pytest.mark.filterwarnings("ignore:In the future:FutureWarning")  # numpy, when `old_names` looks for its names
@pytest.mark.usefixtures("old_names")
def test_names_that_libraries_have_dropped(call: Callable[[], Any], expected: Any) -> None:
    with matplotlib.rc_context():
        assert call() == expected


def test_what_is_replaced_by_name_exists() -> None:
    for cls in (transformers.Trainer, transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase):
        assert callable(cls.push_to_hub)


LINES = {
    "pip install torch\n": "pass  # [grading] not run: pip install torch\n",
    "    pip install x\n": "    pass  # [grading] not run: pip install x\n",
    "nvidia-smi\n": "pass  # [grading] not run: nvidia-smi\n",
    **{kept: kept for kept in ("wget = 3\n", "pipeline('x')\n", "print('pip install')\n")},
}


@pytest.mark.parametrize(("line", "expected"), LINES.items())
def test_bare_shell_lines(line: str, expected: str) -> None:
    assert cells.comment_out([line]) == [expected]


COMMANDS: dict[str, tuple[str | list[str], bool]] = {
    "pip": ("pip install torch", True),
    "module": ([sys.executable, "-m", "pip", "install", "torch"], True),
    "sudo": ("sudo apt-get install tree", True),
    "path": (["/usr/bin/nvidia-smi"], True),
    "end": ("kill -9 4711", True),
    "python": ([sys.executable, "-c", "print(1)"], False),
    "something else": ("echo pipeline", False),
}


@pytest.mark.parametrize(("command", "expected"), COMMANDS.values(), ids=COMMANDS)
def test_commands_that_set_a_machine_up(command: str | list[str], expected: bool) -> None:
    assert cells.is_setup_command(command) is expected


@pytest.mark.parametrize(("prompt", "expected"), [("Train again? [y/n] ", "y"), ("Epochs: ", "1"), ("your key", "1")])
def test_questions_are_answered(prompt: str, expected: str) -> None:
    assert cells.answer(prompt) == expected


SIZES = {  # of the test and the training part, and what they are in 500 rows
    "all as test": ((500, None), (250, None)),
    "both": ((500, 2000), (100, 400)),
    "share": ((0.2, None), (0.2, None)),
    "fits": ((100, 200), (100, 200)),
}


@pytest.mark.parametrize(("asked", "expected"), SIZES.values(), ids=SIZES)
def test_sizes_are_scaled_to_what_there_is(asked: tuple[Any, Any], expected: tuple[Any, Any]) -> None:
    assert offline_datasets.fit_sizes(*asked, 500) == expected


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`datasets` with small data files, until the test is over."""
    for name, rows in (("train.csv", 20), ("eval.csv", 8)):
        lines = "".join(f"review {i},{i % 2}\n" for i in range(rows))
        (tmp_path / name).write_text(f"review,label\n{lines}", encoding="utf-8")
    patched = {
        datasets: ("load_dataset", "load_from_disk"),
        datasets.Dataset: ("select", "train_test_split", "__getitem__", "save_to_disk", "from_csv"),
        datasets.DatasetDict: ("save_to_disk", "from_csv"),
    }
    for owner, names in patched.items():
        for name in names:
            monkeypatch.setattr(owner, name, inspect.getattr_static(owner, name))  # to be undone
    monkeypatch.setattr(datasets, "load_metric", None, raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    inputs = {name: str(tmp_path / name) for name in ("train.csv", "eval.csv")}
    offline_datasets.redirect(InputFiles(inputs, str(tmp_path)))
    return datasets


@pytest.fixture
def table(here: Any) -> Any:
    return here.load_dataset("csv", data_files={"train": "/content/train.csv"})


def test_imdb_is_stood_in_for(here: Any) -> None:
    imdb = here.load_dataset("imdb")
    assert {name: (len(part), part.column_names) for name, part in imdb.items()} == {
        "train": (20, ["text", "label"]),
        "test": (8, ["text", "label"]),
    }
    assert len(imdb["train"].shuffle(seed=0).select(range(3000))) == 20
    assert len(imdb["test"].train_test_split(test_size=500)["test"]) == 4


@pytest.mark.parametrize(("split", "rows"), [("train[:1000]+train[-1000:]", 20), ("test", 8), ("test[:500]", 8)])
def test_slices_of_imdb(here: Any, split: str, rows: int) -> None:
    assert len(here.load_dataset("stanfordnlp/imdb", split=split)) == rows
    assert [len(part) for part in here.load_dataset("imdb", split=[split, "train"])] == [rows, 20]


def test_folders_and_files_elsewhere(here: Any) -> None:
    files = {"train": "/content/train.csv", "test": "C:\\a4\\eval.csv"}
    assert len(here.load_dataset("csv", data_files=files)["test"]) == 8
    assert len(here.load_dataset("/content/drive/MyDrive/a4")["train"]) == 20
    load = here.Dataset.from_csv
    tables = load("/content/train.csv"), load(path_or_paths="/content/train.csv")
    assert [len(table) for table in (*tables, load("/content/train.csv", cache_dir="/content/cache"))] == [20] * 3


@pytest.mark.skipif(os.name == "nt", reason="absolute paths look different there")
def test_what_lies_elsewhere_is_in_a_folder_of_this_run(here: Any, table: Any, tmp_path: Path) -> None:
    content = tmp_path / "elsewhere" / "content"
    data = here.load_dataset("csv", data_files={"train": "/content/train.csv"}, cache_dir="/content/cache")
    assert all(content / "cache" in Path(file["filename"]).parents for file in data["train"].cache_files)
    for name, saved in (("all", table), ("tokenized", table["train"])):
        saved.save_to_disk(f"/content/{name}")
        assert (content / name).is_dir()
        assert here.load_from_disk(f"/content/{name}").num_rows == saved.num_rows


def test_columns_are_lists(table: Any) -> None:
    data = table["train"]
    for column in (data["review"], data["review"] + [], data[:]["review"]):
        assert column == [f"review {i}" for i in range(20)]
        assert type(column) is list
    assert torch.equal(data.with_format("torch")["label"][:], torch.arange(20) % 2)  # another format stays


def test_selecting_too_much_of_other_data_stays_an_error(table: Any) -> None:
    with pytest.raises(IndexError):
        table["train"].select(range(3000))
