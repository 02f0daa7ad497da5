"""Names and signatures of older versions of the libraries, right when the student (or the tutorial) wrote them."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch

from grader.kernel.compat.files import InputFiles, wrap

RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "warmup_ratio": "warmup_steps",  # a number below 1 is a ratio there
}
HALF_PRECISION = ("fp16", "bf16", "fp16_full_eval", "bf16_full_eval", "tf32")  # for want of a GPU
ADAMW = frozenset((  # by names that went, or in memory formats of packages that are not here
    "adamw_hf", "adamw_apex_fused", "adamw_8bit", "adamw_bnb_8bit", "paged_adamw", "paged_adamw_8bit",
    "paged_adamw_32bit",
))  # fmt: skip
ATTENTION = ("MultiHeadSelfAttention", "DistilBertSdpaAttention")
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
    import transformers

    wrap(transformers.TrainingArguments, "__init__", lambda original: _training_arguments(original, files))
    wrap(transformers.Trainer, "__init__", _trainer)
    _disable_publishing(transformers)
    _restore_old_names(transformers)
    torch.compile = lambda model=None, **k: model if model is not None else (lambda function: function)  # type: ignore[assignment]


def _training_arguments(original: Callable[..., Any], files: InputFiles) -> Callable[..., Any]:
    known = list(inspect.signature(original).parameters)

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        kwargs = translate_arguments(kwargs, frozenset(known))
        if args:
            args = (files.place(args[0]), *args[1:])
        elif "output_dir" in kwargs:
            kwargs["output_dir"] = files.place(kwargs["output_dir"])
        original(self, *args, **kwargs)

    return init


def translate_arguments(kwargs: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """Arguments that the installed version knows, in its words."""
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
        print(f"[grading] TrainingArguments({name}=...) is unknown to this version of transformers and was left out")
        del found[name]
    unwanted = ("torch_compile", "torch_compile_backend", "torch_compile_mode", "use_liger_kernel")
    for name in (*unwanted, *(() if torch.cuda.is_available() else HALF_PRECISION)):
        found.pop(name, None)
    return found | {"report_to": "none", "push_to_hub": False}


def _trainer(original: Callable[..., Any]) -> Callable[..., Any]:
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        if "tokenizer" in kwargs:
            kwargs.setdefault("processing_class", kwargs.pop("tokenizer"))
        original(self, *args, **kwargs)
        for name, extra in LATER.items():
            _drop_extra(self, name, extra)

    return init


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


def _disable_publishing(transformers: Any) -> None:
    for cls in (transformers.Trainer, transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase):
        cls.push_to_hub = lambda self, *a, **k: print("[grading] nothing is published")
    transformers.Trainer.create_model_card = lambda self, *a, **k: None


def _restore_old_names(transformers: Any) -> None:
    _restore_names_elsewhere()
    distilbert = importlib.import_module("transformers.models.distilbert.modeling_distilbert")
    for name in ATTENTION:
        if not hasattr(distilbert, name):
            setattr(distilbert, name, distilbert.DistilBertSelfAttention)
    if not hasattr(transformers, "AdamW"):
        transformers.AdamW = transformers.optimization.AdamW = AdamW
    if not hasattr(transformers.Trainer, "tokenizer"):
        transformers.Trainer.tokenizer = property(lambda self: self.processing_class)
    base = transformers.PreTrainedTokenizerBase
    for name in ("encode_plus", "batch_encode_plus"):
        if not hasattr(base, name):
            setattr(base, name, _encode)


def _restore_names_elsewhere() -> None:
    """Of numpy before 2, pandas before 2, matplotlib before 3.8 and IPython before 9."""
    import IPython.core.display
    import IPython.display
    import matplotlib.style
    import numpy as np
    import pandas as pd

    renamed = {old: getattr(np, new) for old, new in NUMPY.items()} | {"float": float, "int": int, "object": object}
    np.__dict__.update({old: new for old, new in renamed.items() if old not in np.__dict__})
    for owner in (pd.DataFrame, pd.Series):
        for name, method in (("append", _append), ("iteritems", lambda self: self.items())):
            if not hasattr(owner, name):
                setattr(owner, name, method)
    if not hasattr(pd.DataFrame, "applymap"):
        pd.DataFrame.applymap = pd.DataFrame.map
    styles = matplotlib.style.library
    for name in [name for name in styles if name.startswith("seaborn-v0_8")]:
        styles.setdefault(name.replace("-v0_8", ""), styles[name])
    for name in ("display", "clear_output"):
        if not hasattr(IPython.core.display, name):
            setattr(IPython.core.display, name, getattr(IPython.display, name))


def _append(
    self: Any, other: Any, ignore_index: bool = False, verify_integrity: bool = False, sort: bool = False
) -> Any:
    """`append` of pandas 1, for tables and columns."""
    import pandas as pd

    others = list(other) if isinstance(other, (list, tuple)) else [other]
    if isinstance(self, pd.DataFrame):
        others = [_convert_to_table(part) for part in others]
    parts = [part for part in (self, *others) if len(part)]
    return pd.concat(parts or [self], ignore_index=ignore_index, verify_integrity=verify_integrity, sort=sort)


def _convert_to_table(part: Any) -> Any:
    """A row, given as a dict or a Series, as a table of one row."""
    import pandas as pd

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
        """The last two arguments have nothing to do any more."""
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
