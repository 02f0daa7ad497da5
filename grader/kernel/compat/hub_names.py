"""Names of models, tokenizers, metrics and data sets: whoever names one that is not here reads which, and what is.

There is no network, and the libraries would say so. What the notebook asked for says more: another model, a name with a
slip of the pen, a folder that nothing was saved to. A tokenizer's class alone would even make an empty vocabulary.
"""

import difflib
import functools
import re
from pathlib import Path, PureWindowsPath
from typing import Any

import evaluate
import transformers
from huggingface_hub import constants

from grader.kernel.compat.files import InputFiles, exists, get_base_name, get_text
from grader.kernel.fence import tell
from grader.kernel.wrapping import wrap

PRETRAINED = (
    *("PreTrainedModel", "PreTrainedTokenizerBase", "PreTrainedConfig"),
    *("AutoTokenizer", "AutoConfig", "AutoModel", "AutoModelForSequenceClassification"),
)
# Options of downloads, which never happen here. There is one revision of everything.
OF_THE_HUB = ("cache_dir", "force_download", "resume_download", "proxies", "token", "use_auth_token", "revision")
MODEL = "distilbert-base-uncased"  # as the handout has it
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")
METRICS = ("accuracy", "precision", "recall", "f1", "glue", "matthews_correlation", "roc_auc")
# Public data sets that some tutorial fine-tunes on. Any other name may be the course's files under a student's account.
DATA_SETS = frozenset(
    (
        *("ag_news", "amazon_polarity", "cola", "emotion", "glue", "mrpc", "rotten_tomatoes", "snli", "squad", "sst"),
        *("sst2", "tweet_eval", "wikitext", "yelp_polarity", "yelp_review_full"),
    )
)
ALIKE = 0.86  # of two names: "distilbert-uncased" has 0.88, "albert-base-uncased" has 0.857
VERSIONS = ("default", "pytorch", "transformers")  # and a number: Kaggle's folders below that of a model
CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def redirect(files: InputFiles) -> None:
    """Let `from_pretrained` and `evaluate.load` find what is here, and say what is not."""
    for name in PRETRAINED:
        wrap(getattr(transformers, name), "from_pretrained", functools.partial(_load_pretrained, files))
    for module in (evaluate, evaluate.loading):  # `evaluate.combine` loads from where it is defined
        wrap(module, "load", _load_metric)


def _load_pretrained(
    files: InputFiles, original: Any, cls: Any, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any
) -> Any:
    kept = {name: value for name, value in kwargs.items() if name not in OF_THE_HUB}
    found = find_model(find_checkpoint(files.locate(pretrained_model_name_or_path)))
    if (name := get_text(found)) is None:
        return original(cls, found, *args, **kept)
    tokenizes = "Tokenizer" in cls.__name__
    if problem := explain_folder(name, tokenizes) if exists(name) else explain_name(name):
        raise tell(OSError(problem))
    try:
        return original(cls, found, *args, **kept)
    except OSError:
        if exists(name) or name == MODEL or name.endswith(f"/{MODEL}"):
            raise
        raise tell(OSError(_explain_other(name))) from None


def find_checkpoint(path: Any) -> Any:
    """Return the last checkpoint beside one that is not there: shortened trainings end at other steps."""
    if get_text(path) is None or exists(path) or not CHECKPOINT.fullmatch(get_base_name(path) or ""):
        return path
    numbers = {int(found[1]): other for other in Path(path).parent.glob("*") if (found := _match(other))}
    return str(numbers[max(numbers)]) if numbers else path


def find_model(path: Any) -> Any:
    """Return the name of the pretrained model for a folder of its name that is not here: a copy on another machine."""
    text = get_text(path)
    if text is None or exists(text) or is_cached(text) or not is_named_after_model(text):
        return path
    print(f"[grading] there is no folder {text!r} here; the pretrained model {MODEL!r} takes its place")
    return MODEL


def is_named_after_model(path: str) -> bool:
    """Return True for `models/distilbert-base-uncased`, `/kaggle/input/distilbertbaseuncased/pytorch/default/1`."""
    folders = PureWindowsPath(path).parts  # which may have slashes of both kinds between them
    names = [name for name in folders if not name.isdigit() and name.lower() not in VERSIONS]
    last = re.sub("[-_ ]", "", names[-1] if names else "").lower()
    return bool({"/", "\\"} & set(path)) and last == MODEL.replace("-", "")


def _match(path: Path) -> re.Match[str] | None:
    return CHECKPOINT.fullmatch(path.name)


def explain_folder(folder: str, tokenizes: bool) -> str | None:
    """Say what a folder lacks of a tokenizer; None if it has one or needs none."""
    place = Path(folder)
    if not tokenizes or not place.is_dir() or any(exists(place / name) for name in TOKENIZER_FILES):
        return None
    return (
        f"the folder {folder!r} holds no tokenizer. Save it there with `tokenizer.save_pretrained`, or load the one of "
        f"{MODEL!r}"
    )


def explain_name(name: str) -> str | None:
    """Say why a name leads nowhere; None if it is in the cache, or where the hub can be asked."""
    if not constants.HF_HUB_OFFLINE or is_cached(name):
        return None
    return _explain_path(name) if looks_like_path(name) else _explain_other(name)


def is_cached(name: str) -> bool:
    """Return True if the hub's cache holds something of this model."""
    return exists(Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}")


def looks_like_path(name: str) -> bool:
    """Return True for what can be no name of the hub's, or begins with a folder that is here."""
    first = name.partition("/")[0]
    return first in ("", ".", "..", "~") or "\\" in name or name.count("/") > 1 or ("/" in name and exists(first))


def _explain_path(path: str) -> str:
    why = "nothing is saved there before this line"
    if CHECKPOINT.fullmatch(get_base_name(path) or ""):
        why = "grading shortens the training, which leaves no checkpoint of this step"
    return (
        f"there is no folder {path!r}: {why}. Save a model first with `trainer.save_model(folder)` and load it from "
        f"there, or load {MODEL!r}"
    )


def _explain_other(name: str) -> str:
    """Say what a name of the hub is that is not here."""
    last = name.rpartition("/")[2].lower().replace("_", "-")
    expected = f"Expected {MODEL!r}"
    if "cased" in last and "uncased" not in last:
        return (
            f"the grader does not have {name!r}, whose cased vocabulary gives other token ids. {expected} (uncased); "
            "use that name for the tokenizer and the model"
        )
    if is_cached(name):
        return f"the grader has the tokenizer of {name!r}, not the model. {expected}; load the model under that name"
    if difflib.SequenceMatcher(None, last, MODEL).ratio() >= ALIKE:
        return f"there is no model {name!r}. {expected}; correct the name"
    or_folder = ", nor is it a folder" if "/" in name else ""
    return (
        f"the grader does not have {name!r}{or_folder}. {expected}, the model that the assignment fine-tunes; use that "
        "name for the tokenizer and the model"
    )


def _load_metric(original: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return original(path, *args, **kwargs)
    except OSError:  # FileNotFoundError or ConnectionError, as the name may be
        if get_text(path) is None or exists(path):
            raise
        raise tell(FileNotFoundError(explain_metric(str(path)))) from None


def explain_metric(name: str) -> str:
    """Say which metric was meant, or which there are."""
    last = name.rpartition("/")[2].lower().removesuffix(".py")
    close = difflib.get_close_matches(last, METRICS, 1, ALIKE)
    if close and close[0] != last:
        return f"there is no metric {name!r}. Expected {close[0]!r}; correct the name"
    listed = ", ".join(METRICS)
    return f"the grader does not have the metric {name!r}. Expected 'accuracy'; the grader has only {listed}"


def refuse_data_set(name: str, files: InputFiles) -> None:
    """Raise for a public data set, which the course's files cannot stand for. Tell that they stand for others."""
    listed = " and ".join(files.get_names())
    if get_base_name(name.lower()) in DATA_SETS:
        raise tell(
            FileNotFoundError(
                f"the grader does not have the data set {name!r}. Expected the course's reviews, {listed}; load them "
                "with `load_dataset('csv', data_files=...)`"
            )
        )
    print(f"[grading] there is no data set or folder {name!r} here; the course's files take its place: {listed}")
