"""Makes notebooks written for Colab, for another machine or for an older library run here.

Nothing in this module changes what the assignment is about. Each shim says what it tolerates.
"""

import builtins
import functools
import glob
import os
import sys
import types
from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

HARMLESS_LINE_MAGICS = ("pip", "conda", "mamba", "uv", "apt", "wandb", "load_ext", "autoreload", "env", "cd", "system", "sx")
HARMLESS_CELL_MAGICS = ("bash", "sh", "script", "system", "sx", "html", "javascript", "js", "writefile", "latex", "markdown")


def base_name(path: Any) -> str | None:
    """Last part of a path in the spelling of either system, or None for what is not a local path."""
    if not isinstance(path, (str, os.PathLike)):
        return None
    text = os.fspath(path)
    if not isinstance(text, str):
        return None
    return PureWindowsPath(text).name if "\\" in text else PurePosixPath(text).name


class InputFiles:
    """Data files found by base name, whatever folder the notebook thinks they are in."""

    def __init__(self, inputs: dict[str, str]) -> None:
        """`inputs`: base name -> real path."""
        self.inputs = {name.lower(): path for name, path in inputs.items()}

    def locate(self, path: Any) -> Any:
        """The real path for a data file that does not exist where the notebook looks; anything else unchanged."""
        name = base_name(path)
        if name is None:
            return path
        known = self.inputs.get(name.lower())
        return known if known is not None and not _exists(path) else path

    def locate_all(self, value: Any) -> Any:
        """The same through the nested lists and dicts that `data_files` may be."""
        if isinstance(value, dict):
            return {key: self.locate_all(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.locate_all(item) for item in value)
        return self.locate(value)

    def folder(self, path: Any) -> str:
        """Where `load_dataset(folder)` or a listing of a missing folder finds the files."""
        return os.path.dirname(next(iter(self.inputs.values())))  # noqa: PTH120 - students get strings


def _exists(path: Any) -> bool:
    try:
        os.stat(path)  # not os.path.exists, which is redirected itself
    except (OSError, ValueError):
        return False
    return True


def redirect_files(files: InputFiles) -> None:
    """`open`, `os.path.exists`, `glob.glob`, pandas and datasets look for data files by base name."""
    _wrap(builtins, "open", lambda original: lambda file, *a, **k: original(files.locate(file), *a, **k))
    for name in ("exists", "isfile"):
        _wrap(os.path, name, lambda original: lambda path: original(files.locate(path)))
    _wrap(glob, "glob", lambda original: lambda pattern, *a, **k: original(files.locate(pattern), *a, **k))
    _redirect_pandas(files)
    _redirect_datasets(files)


def _redirect_pandas(files: InputFiles) -> None:
    import pandas as pd

    def wrapper(original: Any) -> Any:
        return lambda path, *a, **k: original(files.locate(path), *a, **k)

    _wrap(pd, "read_csv", wrapper)
    _wrap(pd, "read_table", wrapper)


def _redirect_datasets(files: InputFiles) -> None:
    import datasets

    def load_dataset(original: Any) -> Any:
        def load(path: str, name: Any = None, *args: Any, **kwargs: Any) -> Any:
            if path.rsplit("/", 1)[-1].lower() == "imdb":
                return imdb_stand_in(original, files, kwargs.get("split"))
            if kwargs.get("data_files") is not None:
                kwargs["data_files"] = files.locate_all(kwargs["data_files"])
            if kwargs.get("data_dir") is not None and not _exists(kwargs["data_dir"]):
                kwargs["data_dir"] = files.folder(kwargs["data_dir"])
            return original(path, name, *args, **kwargs)

        return load

    _wrap(datasets, "load_dataset", load_dataset)
    for cls, name in ((datasets.Dataset, "from_csv"), (datasets.DatasetDict, "from_csv")):
        original = getattr(cls, name)
        setattr(cls, name, staticmethod(lambda paths, *a, _of=original, **k: _of(files.locate_all(paths), *a, **k)))


def imdb_stand_in(load: Callable[..., Any], files: InputFiles, split: Any) -> Any:
    """The course's own reviews in place of a download of the whole Large Movie Review Dataset (columns text, label)."""
    paths = {"train": files.inputs["train.csv"], "test": files.inputs["eval.csv"]}
    if isinstance(split, str):  # a slice may ask for more rows than there are
        name = split.split("[")[0].split("+")[0]
        data = load("csv", data_files=paths, split="test" if name == "test" else "train")
        return data.rename_column("review", "text").select_columns(["text", "label"])
    data = load("csv", data_files=paths).rename_column("review", "text").select_columns(["text", "label"])
    return data if split is None else [imdb_stand_in(load, files, part) for part in split]


def _wrap(owner: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(wrapper(original)))


def stub_colab() -> None:
    """`from google.colab import drive, files, userdata` and `drive.mount(...)` do nothing."""
    google = sys.modules.setdefault("google", types.ModuleType("google"))
    colab = _silent_module("google.colab")
    for name in ("drive", "files", "userdata", "auth", "output", "data_table"):
        sys.modules[f"google.colab.{name}"] = module = _silent_module(f"google.colab.{name}")
        setattr(colab, name, module)
    sys.modules["google.colab"] = colab
    google.colab = colab  # type: ignore[attr-defined]


def silence_services() -> None:
    """Accounts and dashboards on the network: logging in succeeds and does nothing."""
    import huggingface_hub

    for name in ("login", "notebook_login", "interpreter_login"):
        setattr(huggingface_hub, name, _nothing)
    for name in ("wandb", "tensorboardX", "kagglehub"):
        sys.modules.setdefault(name, _silent_module(name))


def _silent_module(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__spec__ = None
    module.__getattr__ = lambda attribute: _attribute(attribute)  # type: ignore[method-assign]
    return module


def _attribute(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _nothing


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


def harmless_magics(shell: Any) -> None:
    """`!pip install`, `%pip`, `!wget`, `%%bash` are shown and not run; other line magics stay."""
    for name in HARMLESS_LINE_MAGICS:
        shell.register_magic_function(_magic(f"%{name}"), "line", name)
    for name in HARMLESS_CELL_MAGICS:
        shell.register_magic_function(_cell_magic(f"%%{name}"), "cell", name)
    shell.system = shell.system_piped = shell.system_raw = _magic("!")
    shell.getoutput = lambda *a, **k: []


def _magic(label: str) -> Callable[..., None]:
    return lambda line="", *a, **k: print(f"[not run while grading] {label}{' ' if label != '!' else ''}{line}")


def _cell_magic(label: str) -> Callable[..., None]:
    return lambda line="", cell="", *a, **k: print(f"[not run while grading] {label} {line}")


def bare_shell_lines(lines: list[str]) -> list[str]:
    """An input transformer: a bare `pip install x` in a cell is not Python."""
    commands = ("pip install", "pip3 install", "conda install", "apt-get ", "apt install")
    return [f"# [not run while grading] {line}" if line.lstrip().startswith(commands) else line for line in lines]


def refuse_input() -> None:
    """There is nobody to answer."""

    def refuse(prompt: object = "") -> str:
        raise RuntimeError("input() is not available while grading: nobody is there to answer")

    builtins.input = refuse


def accept_old_arguments() -> None:
    """Argument names of earlier transformers versions, and 16-bit training where there is no GPU for it."""
    import transformers

    _wrap(transformers.TrainingArguments, "__init__", _training_arguments)
    _wrap(transformers.Trainer, "__init__", _trainer)


def _training_arguments(original: Any) -> Any:
    import inspect

    known = set(inspect.signature(original).parameters)
    renamed = {"evaluation_strategy": "eval_strategy", "no_cuda": "use_cpu", "per_gpu_train_batch_size": "per_device_train_batch_size",
               "per_gpu_eval_batch_size": "per_device_eval_batch_size"}

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        for old, new in renamed.items():
            if old in kwargs and old not in known:
                kwargs.setdefault(new, kwargs.pop(old))
        for name in [name for name in kwargs if name not in known]:
            print(f"[grading] TrainingArguments({name}=...) is unknown to this version of transformers and was left out")
            del kwargs[name]
        if not torch.cuda.is_available():
            for name in ("fp16", "bf16", "fp16_full_eval", "bf16_full_eval", "tf32"):
                kwargs.pop(name, None)
        kwargs["report_to"] = "none"
        kwargs["push_to_hub"] = False
        original(self, *args, **kwargs)

    return init


def _trainer(original: Any) -> Any:
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        if "tokenizer" in kwargs:
            kwargs.setdefault("processing_class", kwargs.pop("tokenizer"))
        original(self, *args, **kwargs)

    return init


class CudaAsCpu(TorchFunctionMode):
    """Sends what is meant for a GPU to the CPU, on machines without one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func` with every CUDA device replaced."""
        if func is torch.Tensor.cuda:
            return args[0]
        kwargs = {key: _cpu(value) for key, value in (kwargs or {}).items()}
        return func(*[_cpu(value) for value in args], **kwargs)


def _cpu(value: Any) -> Any:
    if isinstance(value, torch.device) and value.type == "cuda":
        return torch.device("cpu")
    return "cpu" if isinstance(value, str) and value.split(":")[0] == "cuda" else value


def cuda_as_cpu() -> None:
    """`.to('cuda')`, `.cuda()` and `device='cuda'` mean the CPU where there is no GPU."""
    if torch.cuda.is_available():
        return
    CudaAsCpu().__enter__()
    torch.nn.Module.cuda = lambda self, device=None: self  # type: ignore[method-assign,assignment]
    original = torch.nn.Module.to
    torch.nn.Module.to = lambda self, *a, **k: original(  # type: ignore[method-assign,assignment]
        self, *[_cpu(v) for v in a], **{key: _cpu(v) for key, v in k.items()}
    )

