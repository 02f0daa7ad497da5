"""`datasets` without a network: the course's files in any folder, and in place of the whole IMDB."""

import functools
import os
from typing import Any

import datasets

from grader.kernel.compat import hub_names
from grader.kernel.compat.files import InputFiles, exists
from grader.kernel.wrapping import redirect_arguments, wrap

BUILDERS = ("csv", "json", "text", "pandas", "parquet", "arrow", "generator")  # of tables, from files that are given
STAND_IN = "imdb-stand-in"  # a data set's description, which all that is derived from it inherits


def redirect(files: InputFiles) -> None:
    """Let `load_dataset`, `from_csv` and the abandoned `load_metric` work here."""
    wrap(datasets, "load_dataset", functools.partial(_load_dataset, files))
    for cls in (datasets.Dataset, datasets.DatasetDict):
        wrap(cls, "from_csv", functools.partial(_from_csv, files))
    redirect_arguments(datasets.Dataset, "save_to_disk", dataset_path=files.place)
    redirect_arguments(datasets.DatasetDict, "save_to_disk", dataset_dict_path=files.place)
    redirect_arguments(datasets, "load_from_disk", dataset_path=files.locate)
    wrap(datasets.Dataset, "select", _select)
    wrap(datasets.Dataset, "train_test_split", _train_test_split)
    wrap(datasets.Dataset, "__getitem__", _get_column_as_list)
    if not hasattr(datasets, "load_metric"):
        datasets.load_metric = load_metric


def load_metric(path: str, *args: Any, **kwargs: Any) -> Any:
    """Load a metric with `evaluate.load`, which replaced the function of this name."""
    import evaluate

    kwargs.pop("trust_remote_code", None)
    return evaluate.load(path, *args, **kwargs)


def _get_column_as_list(original: Any, self: Any, key: Any) -> Any:
    """`dataset["review"]` was a list before datasets 4: tokenizers want one, `+` joins two, and json writes one."""
    found = original(self, key)
    return list(found[:]) if isinstance(key, str) and self.format["type"] is None else found


def _from_csv(files: InputFiles, original: Any, path_or_paths: Any, *args: Any, **kwargs: Any) -> Any:
    return original(files.locate_all(path_or_paths), *args, **_use_run_cache(files, kwargs))


def _use_run_cache(files: InputFiles, kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: files.place(value) if name == "cache_dir" else value for name, value in kwargs.items()}


def _load_dataset(files: InputFiles, original: Any, path: Any, name: Any = None, *args: Any, **kwargs: Any) -> Any:
    kwargs.pop("trust_remote_code", None)
    kwargs = _use_run_cache(files, kwargs)
    text = os.fspath(path)
    if text.rsplit("/", 1)[-1].lower() == "imdb":
        return build_imdb_stand_in(original, files, kwargs.get("split"))
    if kwargs.get("data_files") is not None:
        kwargs["data_files"] = files.locate_all(kwargs["data_files"])
    if text in BUILDERS or exists(text):
        if kwargs.get("data_dir") is not None and not exists(kwargs["data_dir"]):
            kwargs["data_dir"] = files.get_folder()
        return original(text, name, *args, **kwargs)
    # A folder or a data set of the hub that is not here: the course's files, in the splits that the library makes.
    if not kwargs.get("data_files"):
        hub_names.refuse_data_set(text, files)
    chosen = kwargs.pop("data_files", None) or _get_splits(files)
    kwargs.pop("data_dir", None)
    return original("csv", data_files=chosen, **kwargs)


def _get_splits(files: InputFiles) -> dict[str, str]:
    return {"train": files.inputs["train.csv"], "test": files.inputs["eval.csv"]}


def build_imdb_stand_in(load: Any, files: InputFiles, split: Any) -> Any:
    """Load the course's reviews in place of the whole Large Movie Review Dataset (columns text, label)."""
    if isinstance(split, (list, tuple)):
        return [build_imdb_stand_in(load, files, part) for part in split]
    data = load("csv", data_files=_get_splits(files))
    parts = {name: _convert_to_imdb(part) for name, part in data.items()}
    if split is None:
        return type(data)(parts)
    return parts["test" if str(split).startswith("test") else "train"]  # a slice may want more rows than there are


def _convert_to_imdb(data: Any) -> Any:
    data = data.rename_column("review", "text").select_columns(["text", "label"])
    data.info.description = STAND_IN
    return data


def _stands_in(data: Any) -> bool:
    return bool(data.info.description == STAND_IN)


def _select(original: Any, self: Any, indices: Any, *args: Any, **kwargs: Any) -> Any:
    """`select(range(3000))` of a stand-in takes what there is."""
    if _stands_in(self):
        indices = [i for i in indices if i < len(self)]
    return original(self, indices, *args, **kwargs)


def _train_test_split(
    original: Any, self: Any, test_size: Any = None, train_size: Any = None, *args: Any, **kwargs: Any
) -> Any:
    if _stands_in(self):
        test_size, train_size = fit_sizes(test_size, train_size, len(self))
    return original(self, test_size, train_size, *args, **kwargs)


def fit_sizes(test_size: Any, train_size: Any, rows: int) -> tuple[Any, Any]:
    """Scale whole numbers so that both parts of a stand-in fit into `rows` and neither is empty."""
    wanted = sum(size for size in (test_size, train_size) if isinstance(size, int))
    one_left = test_size is None or train_size is None
    if wanted + one_left <= rows:
        return test_size, train_size
    factor = rows / wanted / (2 if one_left else 1)
    return tuple(int(size * factor) if isinstance(size, int) else size for size in (test_size, train_size))  # type: ignore[return-value]
