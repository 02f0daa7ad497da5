"""Names and signatures of older versions of the libraries, right when the student (or the tutorial) wrote them."""

import functools
import inspect
import pkgutil
from typing import Any

import IPython.display
import matplotlib.style
import numpy as np
import pandas as pd
import torch
import transformers
from transformers.models.distilbert.modeling_distilbert import DistilBertSelfAttention

from grader.kernel.compat.files import InputFiles
from grader.kernel.compat.stub_packages import NOTHING
from grader.kernel.wrapping import wrap

RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "warmup_ratio": "warmup_steps",  # a number below 1 is a ratio there
}
HALF_PRECISION = ("fp16", "bf16", "fp16_full_eval", "bf16_full_eval", "tf32")  # for want of a GPU
UNWANTED = ("torch_compile", "torch_compile_backend", "torch_compile_mode", "use_liger_kernel")
ADAMW = frozenset((  # by names that went, or in memory formats of packages that are not here
    "adamw_hf", "adamw_apex_fused", "adamw_8bit", "adamw_bnb_8bit", "paged_adamw", "paged_adamw_8bit",
    "paged_adamw_32bit",
))  # fmt: skip
NUMPY = {
    "product": "prod", "cumproduct": "cumprod", "alltrue": "all", "sometrue": "any", "float_": "float64", "Inf": "inf",
    "infty": "inf", "NaN": "nan", "in1d": "isin", "trapz": "trapezoid", "row_stack": "vstack", "round_": "round",
}  # fmt: skip
LATER = {  # method of Trainer -> parameter that later versions pass in addition
    "compute_loss": "num_items_in_batch",
    "training_step": "num_items_in_batch",
    "log": "start_time",
}


def accept(files: InputFiles) -> None:
    """Let notebooks for older versions run on the installed one. Nothing is compiled and nothing published."""
    known = frozenset(inspect.signature(transformers.TrainingArguments.__init__).parameters)
    wrap(transformers.TrainingArguments, "__init__", functools.partial(_make_arguments, files, known))
    wrap(transformers.Trainer, "__init__", _make_trainer)
    wrap(transformers.PreTrainedModel, "_check_and_adjust_attn_implementation", _choose_attention)
    publishers: list[Any] = [transformers.Trainer, transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase]
    for cls in publishers:
        cls.push_to_hub = lambda self, *a, **k: print(
            "[grading] push_to_hub is skipped: nothing is published from here"
        )
    transformers.Trainer.create_model_card = lambda self, *a, **k: None  # type: ignore[method-assign]
    torch.compile = lambda model=None, **k: model if model is not None else (lambda function: function)  # type: ignore[assignment]
    restore_names()


def _make_arguments(
    files: InputFiles, known: frozenset[str], original: Any, self: Any, *args: Any, **kwargs: Any
) -> None:
    kwargs = translate_arguments(kwargs, known)
    if args:
        args = (files.place(args[0]), *args[1:])
    elif "output_dir" in kwargs:
        kwargs["output_dir"] = files.place(kwargs["output_dir"])
    original(self, *args, **kwargs)


def translate_arguments(kwargs: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """Return arguments of TrainingArguments as the installed version, which has the `known` ones, names them."""
    found = dict(kwargs)
    for old, new in RENAMED.items():
        if old in found and old not in known:
            value = found.pop(old)
            if value is not None and (old != "warmup_ratio" or value):
                found.setdefault(new, value)
    if found.pop("group_by_length", False) and "train_sampling_strategy" in known:
        found.setdefault("train_sampling_strategy", "group_by_length")
    if found.get("optim") in ADAMW:
        found["optim"] = "adamw_torch"
    for name in [name for name in found if name not in known]:
        print(f"[grading] TrainingArguments({name}=...) is unknown to this version of transformers and is left out")
        del found[name]
    for name in (*UNWANTED, *(() if torch.cuda.is_available() else HALF_PRECISION)):
        found.pop(name, None)
    return found | {"report_to": "none", "push_to_hub": False}


def _choose_attention(original: Any, self: Any, attn_implementation: Any, *args: Any, **kwargs: Any) -> Any:
    """Take the usual attention for one whose package is not here; both compute the same."""
    if isinstance(attn_implementation, str) and ("flash" in attn_implementation or "/" in attn_implementation):
        print(f"[grading] there is no attention {attn_implementation!r} on this machine; the usual one takes its place")
        attn_implementation = None
    return original(self, attn_implementation, *args, **kwargs)


def _make_trainer(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
    if "tokenizer" in kwargs:
        kwargs.setdefault("processing_class", kwargs.pop("tokenizer"))
    original(self, *args, **kwargs)
    for name, extra in LATER.items():
        _drop_extra(self, name, extra)


def _drop_extra(trainer: Any, name: str, extra: str) -> None:
    """Give a method that a subclass wrote for an older version the arguments it knows."""
    method = getattr(trainer, name)
    parameters = inspect.signature(method).parameters.values()
    if extra in [p.name for p in parameters] or any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        return
    expected = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)

    def call(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop(extra, None)
        return method(*args[:expected], **kwargs)

    setattr(trainer, name, call)


def restore_names() -> None:
    """Give libraries the names they had: numpy and pandas before 2, matplotlib before 3.8, IPython before 9."""
    for path, names in list_old_names().items():
        owner = pkgutil.resolve_name(path)  # now: transformers replaces its own module while it loads
        for name, value in names.items():
            if inspect.getattr_static(owner, name, None) is None:  # numpy warns of names that are asked for
                setattr(owner, name, value)
    styles = matplotlib.style.library
    for name in [name for name in styles if name.startswith("seaborn-v0_8")]:
        styles.setdefault(name.replace("-v0_8", ""), styles[name])


def list_old_names() -> dict[str, dict[str, Any]]:
    """Return what has to be there: module or class -> name -> value."""
    of_pandas = {"append": _append, "iteritems": lambda self: self.items()}
    return {
        "numpy": {old: getattr(np, new) for old, new in NUMPY.items()} | {"float": float, "int": int, "object": object},
        "pandas.Series": of_pandas,
        "pandas.DataFrame": {**of_pandas, "applymap": getattr(pd.DataFrame, "map", None)},
        "IPython.core.display": {name: getattr(IPython.display, name) for name in ("display", "clear_output")},
        "huggingface_hub": dict.fromkeys(("HfFolder", "Repository", "cached_download"), NOTHING),
        "transformers": {"AdamW": AdamW},
        "transformers.optimization": {"AdamW": AdamW},
        "transformers.Trainer": {"tokenizer": property(lambda self: self.processing_class)},
        "transformers.PreTrainedTokenizerBase": dict.fromkeys(("encode_plus", "batch_encode_plus"), _encode),
        "transformers.models.distilbert.modeling_distilbert": dict.fromkeys(
            ("MultiHeadSelfAttention", "DistilBertSdpaAttention"), DistilBertSelfAttention
        ),
    }


def _append(
    self: Any, other: Any, ignore_index: bool = False, verify_integrity: bool = False, sort: bool = False
) -> Any:
    """`append` of pandas 1, for tables and columns."""
    others = list(other) if isinstance(other, (list, tuple)) else [other]
    if isinstance(self, pd.DataFrame):
        others = [_convert_to_table(part) for part in others]
    parts = [part for part in (self, *others) if len(part)]
    return pd.concat(parts or [self], ignore_index=ignore_index, verify_integrity=verify_integrity, sort=sort)


def _convert_to_table(part: Any) -> Any:
    """Return a row, given as a dict or a Series, as a table of one row."""
    row = pd.Series(part) if isinstance(part, dict) else part
    return row.to_frame().T if isinstance(row, pd.Series) else row


def _encode(self: Any, *args: Any, **kwargs: Any) -> Any:
    if kwargs.pop("pad_to_max_length", False):
        kwargs.setdefault("padding", "max_length")
    return self(*args, **kwargs)


class AdamW(torch.optim.AdamW):
    """The optimiser that transformers used to have, with its defaults."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        correct_bias: bool = True,
        no_deprecation_warning: bool = False,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
