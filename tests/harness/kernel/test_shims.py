"""Older names, packages that are not here, GPUs that are not here, and what is not Python."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import IPython.core.display
import IPython.display
import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
import pandas as pd
import pytest
import torch
import tqdm.contrib.concurrent
import tqdm.notebook
import transformers
from torch import nn

from grader.kernel.compat import cells, deprecated_api, devices, offline_datasets, stub_packages
from grader.kernel.compat.files import InputFiles
from grader.kernel.compat.stub_packages import NOTHING

KNOWN = frozenset(
    ("output_dir", "eval_strategy", "use_cpu", "warmup_steps", "fp16", "train_sampling_strategy", "report_to", "optim")
)

ARGUMENTS = [
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
]


@pytest.mark.parametrize(("given", "expected"), ARGUMENTS)
def test_training_arguments_of_other_versions(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert deprecated_api.translate_arguments(given, KNOWN) == expected | {"report_to": "none", "push_to_hub": False}


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can do that")
def test_half_precision_needs_a_gpu() -> None:
    assert "fp16" not in deprecated_api.translate_arguments({"fp16": True}, KNOWN)


class Recent:
    """What a Trainer of the installed version passes to methods that students override."""

    def __init__(self) -> None:
        """Adapt this object."""
        for name, extra in deprecated_api.LATER.items():
            deprecated_api._drop_extra(self, name, extra)

    def compute_loss(self, model: Any, inputs: Any) -> tuple[Any, ...]:
        """As written for version 4."""
        return model, inputs

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> tuple[Any, ...]:
        """As written for version 5."""
        return model, inputs, num_items_in_batch

    def log(self, *args: Any) -> tuple[Any, ...]:
        """As written by the careful."""
        return args


def test_methods_get_the_arguments_they_know() -> None:
    trainer = Recent()
    assert trainer.compute_loss(1, 2, num_items_in_batch=3) == (1, 2)  # type: ignore[call-arg]
    assert trainer.training_step(1, 2, 3) == (1, 2, 3)
    assert trainer.log(1, 2) == (1, 2)


def test_the_optimiser_that_transformers_had() -> None:
    optimizer = deprecated_api.AdamW(
        nn.Linear(2, 2).parameters(), lr=1e-3, correct_bias=False, no_deprecation_warning=True
    )
    assert optimizer.defaults["weight_decay"] == 0
    assert isinstance(optimizer, torch.optim.AdamW)


@pytest.fixture
def decorated() -> Iterator[None]:
    """Decorative packages may be imported until the test is over."""
    finder, before = stub_packages.StubFinder(), set(sys.modules)
    sys.meta_path.append(finder)
    yield
    sys.meta_path.remove(finder)
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["wandb", "google.colab.drive", "plotly.express", "kaggle_secrets", "torchinfo"])
@pytest.mark.usefixtures("decorated")
def test_decorative_packages_can_be_imported(name: str) -> None:
    if importlib.util.find_spec(name.partition(".")[0]) is None or name.startswith("google"):
        assert importlib.import_module(name).anything("at all") is NOTHING


@pytest.mark.usefixtures("decorated")
def test_packages_that_do_work_are_missed() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("peft_of_nobody")


def test_nothing_takes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", NOTHING.get("HF_TOKEN"))  # os.environ wants text
    assert os.environ["TOKEN"] == ""
    with NOTHING.init(project="a4") as run:
        run.log({"loss": 1})
        run.config["lr"] = 1e-3
        run.summary.best = 3
    assert list(NOTHING.items()) == []
    assert f"{NOTHING.loss:.3f}" == ""
    assert float(NOTHING.score) == 0


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(lambda: NOTHING.used // 1024**2, id="divided"),
        pytest.param(lambda: 100 * NOTHING.used / NOTHING.total, id="share"),
        pytest.param(lambda: 1 - NOTHING.free, id="subtracted"),
        pytest.param(lambda: round(NOTHING.used / 2**30, 1), id="rounded"),
        pytest.param(lambda: sum([NOTHING.used, NOTHING.free]), id="added"),
    ],
)
def test_nothing_can_be_calculated_with(value: Callable[[], Any]) -> None:
    assert float(value()) == 0


def test_nothing_beside_a_text_is_no_text() -> None:
    assert "GPU: " + NOTHING.name + "!" == "GPU: !"


@pytest.mark.usefixtures("decorated")
def test_what_the_documentation_imports_with_a_star() -> None:
    if importlib.util.find_spec("pynvml").loader.__class__ is stub_packages.StubFinder:  # type: ignore[union-attr]
        namespace: dict[str, Any] = {}
        exec("from pynvml import *\nused = nvmlDeviceGetMemoryInfo(nvmlDeviceGetHandleByIndex(0)).used", namespace)
        assert namespace["used"] is NOTHING


@pytest.fixture
def old_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that libraries have dropped are there until the test is over."""
    for owner in (np, pd.DataFrame, pd.Series, matplotlib.style.library, IPython.core.display):
        before = dict(owner if isinstance(owner, dict) else vars(owner))
        for name in (
            *deprecated_api.NUMPY,
            "append",
            "iteritems",
            "applymap",
            "seaborn",
            "display",
            "clear_output",
            "float",
        ):
            if name not in before and not isinstance(owner, dict):
                monkeypatch.setattr(owner, name, None, raising=False)
                monkeypatch.delattr(owner, name)
    deprecated_api._restore_names_elsewhere()


OLD = [
    pytest.param(lambda: np.product([2, 3]), 6, id="numpy product"),
    pytest.param(lambda: np.float(1), 1.0, id="numpy float"),
    pytest.param(lambda: pd.DataFrame({"a": [1]}).append({"a": 2}, ignore_index=True)["a"].tolist(), [1, 2], id="row"),
    pytest.param(lambda: pd.DataFrame().append(pd.DataFrame({"a": [1]}))["a"].tolist(), [1], id="to an empty table"),
    pytest.param(lambda: pd.Series([1]).append(pd.Series([2])).tolist(), [1, 2], id="column"),
    pytest.param(lambda: dict(pd.Series({"a": 1}).iteritems()), {"a": 1}, id="items"),
    pytest.param(lambda: pd.DataFrame({"a": [1]}).applymap(str)["a"].tolist(), ["1"], id="cell by cell"),
    pytest.param(lambda: plt.style.use("seaborn-whitegrid"), None, id="style"),
    pytest.param(lambda: IPython.core.display.display is IPython.display.display, True, id="display"),
]


@pytest.mark.parametrize(("call", "expected"), OLD)
@pytest.mark.usefixtures("old_names")
def test_names_that_libraries_have_dropped(call: Callable[[], Any], expected: Any) -> None:
    with matplotlib.rc_context():
        assert call() == expected


def test_nothing_leaves_decorated_functions_as_they_are() -> None:
    def mine() -> int:
        return 7

    assert NOTHING.interact(mine) is mine


def test_nothing_has_no_protocols() -> None:
    assert not hasattr(NOTHING, "__array__")
    assert not hasattr(stub_packages.StubModule("wandb"), "__file__")


LINES = [
    pytest.param("pip install torch\n", "pass  # [not run while grading] pip install torch\n", id="bare"),
    pytest.param("    pip install x\n", "    pass  # [not run while grading] pip install x\n", id="in-a-block"),
    pytest.param("nvidia-smi\n", "pass  # [not run while grading] nvidia-smi\n", id="nvidia-smi"),
    pytest.param("wget = 3\n", "wget = 3\n", id="a-variable"),
    pytest.param("pipeline('x')\n", "pipeline('x')\n", id="pipeline"),
    pytest.param("print('pip install')\n", "print('pip install')\n", id="quoted"),
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_bare_shell_lines(line: str, expected: str) -> None:
    assert cells.bare_shell_lines([line]) == [expected]


COMMANDS = [
    pytest.param("pip install torch", True, id="pip"),
    pytest.param([sys.executable, "-m", "pip", "install", "torch"], True, id="module"),
    pytest.param("sudo apt-get install tree", True, id="sudo"),
    pytest.param(["/usr/bin/nvidia-smi"], True, id="path"),
    pytest.param([sys.executable, "-c", "print(1)"], False, id="python"),
    pytest.param("echo pipeline", False, id="something-else"),
]


@pytest.mark.parametrize(("command", "expected"), COMMANDS)
def test_commands_that_set_a_machine_up(command: Any, expected: bool) -> None:
    assert cells.is_setup_command(command) is expected


PROMPTS = [
    pytest.param("Train again? [y/n] ", "y", id="yes"),
    pytest.param("Epochs: ", "1", id="number"),
    pytest.param("your key", "1", id="a-word-with-y"),
]


@pytest.mark.parametrize(("prompt", "expected"), PROMPTS)
def test_questions_are_answered(prompt: str, expected: str) -> None:
    assert cells.answer(prompt) == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_tensors_for_a_gpu_are_made_here() -> None:
    device = torch.device("cuda")
    with devices.CpuMode():
        made = [
            torch.zeros(2, device=device),
            torch.tensor([1.0], device="cuda:0"),
            torch.ones(2).to(device),
            torch.ones(2).to("mps"),
            torch.ones(2).cuda(),
            torch.ones(2).to(0),
            torch.ones(2).to(device=device, dtype=torch.float64),
        ]
    assert {tensor.device.type for tensor in made} == {"cpu"}


SIZES = [
    pytest.param(500, None, 500, (250, None), id="all-as-test"),
    pytest.param(500, 2000, 500, (100, 400), id="both"),
    pytest.param(0.2, None, 500, (0.2, None), id="share"),
    pytest.param(100, 200, 500, (100, 200), id="fits"),
]


@pytest.mark.parametrize(("test", "train", "rows", "expected"), SIZES)
def test_sizes_are_scaled_to_what_there_is(test: Any, train: Any, rows: int, expected: tuple[Any, Any]) -> None:
    assert offline_datasets.fit_sizes(test, train, rows) == expected


@pytest.fixture
def here(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`datasets` with small data files, until the test is over."""
    for name, rows in (("train.csv", 20), ("eval.csv", 8)):
        lines = "".join(f"review {i},{i % 2}\n" for i in range(rows))
        (tmp_path / name).write_text(f"review,label\n{lines}", encoding="utf-8")
    for owner, name in (
        (datasets, "load_dataset"),
        (datasets.Dataset, "select"),
        (datasets.Dataset, "train_test_split"),
        (datasets.Dataset, "__getitem__"),
        (datasets, "load_from_disk"),
        (datasets.Dataset, "save_to_disk"),
        (datasets.DatasetDict, "save_to_disk"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr(datasets, "load_metric", None, raising=False)
    for cls in (datasets.Dataset, datasets.DatasetDict):
        monkeypatch.setattr(cls, "from_csv", cls.from_csv)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    offline_datasets.redirect(
        InputFiles({name: str(tmp_path / name) for name in ("train.csv", "eval.csv")}, str(tmp_path))
    )
    return datasets


def test_imdb_is_stood_in_for(here: Any) -> None:
    imdb = here.load_dataset("imdb")
    assert {name: (len(part), part.column_names) for name, part in imdb.items()} == {
        "train": (20, ["text", "label"]),
        "test": (8, ["text", "label"]),
    }
    assert len(imdb["train"].shuffle(seed=0).select(range(3000))) == 20
    assert len(imdb["test"].train_test_split(test_size=500)["test"]) == 4


SPLITS = [
    pytest.param("train[:1000]+train[-1000:]", 20, id="slices"),
    pytest.param("test", 8, id="test"),
    pytest.param("test[:500]", 8, id="slice-of-test"),
]


@pytest.mark.parametrize(("split", "rows"), SPLITS)
def test_slices_of_imdb(here: Any, split: str, rows: int) -> None:
    assert len(here.load_dataset("stanfordnlp/imdb", split=split)) == rows


def test_folders_and_files_elsewhere(here: Any) -> None:
    files = {"train": "/content/train.csv", "test": "C:\\a4\\eval.csv"}
    assert len(here.load_dataset("csv", data_files=files)["test"]) == 8
    assert len(here.load_dataset("/content/drive/MyDrive/a4")["train"]) == 20


FROM_CSV = [
    pytest.param(("/content/train.csv",), {}, id="by-position"),
    pytest.param((), {"path_or_paths": "/content/train.csv"}, id="by-keyword"),
    pytest.param(("/content/train.csv",), {"cache_dir": "/content/cache"}, id="cache-folder"),
]


@pytest.mark.parametrize(("args", "kwargs"), FROM_CSV)
def test_tables_are_read_as_the_library_is_called(here: Any, args: Any, kwargs: Any) -> None:
    assert len(here.Dataset.from_csv(*args, **kwargs)) == 20


@pytest.mark.skipif(os.name == "nt", reason="absolute paths look different there")
def test_a_cache_elsewhere_is_in_a_folder_of_this_run(here: Any, tmp_path: Any) -> None:
    data = here.load_dataset("csv", data_files={"train": "/content/train.csv"}, cache_dir="/content/cache")
    cached = tmp_path / "elsewhere" / "content" / "cache"
    assert all(cached in Path(file["filename"]).parents for file in data["train"].cache_files)


@pytest.mark.skipif(os.name == "nt", reason="absolute paths look different there")
@pytest.mark.parametrize("part", [pytest.param("train", id="data-set"), pytest.param(None, id="dictionary")])
def test_data_sets_saved_elsewhere_are_in_a_folder_of_this_run(here: Any, tmp_path: Any, part: str | None) -> None:
    data = here.load_dataset("csv", data_files={"train": "/content/train.csv"})
    saved = data[part] if part else data
    saved.save_to_disk("/content/tokenized")
    assert (tmp_path / "elsewhere" / "content" / "tokenized").is_dir()
    assert here.load_from_disk("/content/tokenized").num_rows == saved.num_rows


COLUMNS = [
    pytest.param(lambda data: data["review"], id="column"),
    pytest.param(lambda data: data["review"] + [], id="joined"),
    pytest.param(lambda data: data[:]["review"], id="of all rows"),
]


@pytest.mark.parametrize("column", COLUMNS)
def test_columns_are_lists(here: Any, column: Callable[[Any], Any]) -> None:
    data = here.load_dataset("csv", data_files={"train": "/content/train.csv"})["train"]
    assert column(data) == [f"review {i}" for i in range(20)]
    assert type(column(data)) is list


def test_columns_in_another_format_are_what_they_are(here: Any) -> None:
    data = here.load_dataset("csv", data_files={"train": "/content/train.csv"})["train"].with_format("torch")
    assert torch.equal(data["label"][:], torch.arange(20) % 2)


def test_selecting_too_much_of_other_data_stays_an_error(here: Any) -> None:
    data = here.load_dataset("csv", data_files={"train": "/content/train.csv"})["train"]
    with pytest.raises(IndexError):
        data.select(range(3000))


def test_names_that_the_shims_stand_on_exist() -> None:
    """What is wrapped by name must be there, or a habit breaks without a word."""
    assert callable(transformers.Trainer.push_to_hub)
    assert callable(transformers.PreTrainedModel.from_pretrained.__func__)


def test_progress_in_several_threads_shares_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` maps over files with `thread_map`: two reads at a time met a lock that was gone."""
    for name in ("tqdm", "tqdm_notebook", "trange", "tnrange"):
        monkeypatch.setattr(tqdm.notebook, name, getattr(tqdm.notebook, name))
    monkeypatch.delattr(tqdm.tqdm, "_lock", raising=False)
    stub_packages._simplify_progress_bars()
    with tqdm.contrib.concurrent.ensure_lock(datasets.utils.tqdm):
        pass
    assert hasattr(datasets.utils.tqdm, "_lock")
