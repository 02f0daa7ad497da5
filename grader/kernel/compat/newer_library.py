"""Names that Python's own library got after 3.11: a notebook of Colab may use them where this Python lacks them."""

import inspect
import itertools
import math
import operator
import os
import pkgutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typing_extensions

# Not `TypeAliasType`, `ReadOnly` or `NoDefault`: by these, libraries tell a Python whose other types can do more, too.
TYPING = ("override", "TypeIs")


def supply_names() -> None:
    """Put the names where they are expected, each of them only if this Python lacks it."""
    for path, names in list_newer_names().items():
        owner = pkgutil.resolve_name(path)
        for name, value in names.items():
            if inspect.getattr_static(owner, name, None) is None:
                setattr(owner, name, value)


def list_newer_names() -> dict[str, dict[str, Any]]:
    """Return what has to be there: module or class -> name -> value."""
    return {
        "collections.abc": {"Buffer": typing_extensions.Buffer},
        "copy": {"replace": _replace},
        "itertools": {"batched": _batch},
        "math": {"sumprod": _sum_products, "fma": lambda x, y, z: x * y + z},
        "os": {"process_cpu_count": os.cpu_count},
        "pathlib.Path": {"walk": _walk},
        "typing": {name: getattr(typing_extensions, name) for name in TYPING},
        "warnings": {"deprecated": typing_extensions.deprecated},
    }


def _batch(iterable: Iterable[Any], n: int, *, strict: bool = False) -> Iterator[tuple[Any, ...]]:
    """`itertools.batched` of Python 3.13."""
    if n < 1:
        raise ValueError("n must be at least one")
    return _iterate(iter(iterable), n, strict)


def _iterate(items: Iterator[Any], n: int, strict: bool) -> Iterator[tuple[Any, ...]]:
    while batch := tuple(itertools.islice(items, n)):
        if strict and len(batch) < n:
            raise ValueError("batched(): incomplete batch")
        yield batch


def _sum_products(p: Iterable[Any], q: Iterable[Any], /) -> Any:
    """`math.sumprod` of Python 3.12."""
    products = list(map(operator.mul, *(values := (list(p), list(q)))))
    if len(values[0]) != len(values[1]):
        raise ValueError("Inputs are not the same length")
    return math.fsum(products) if any(isinstance(product, float) for product in products) else sum(products)


def _replace(obj: Any, /, **changes: Any) -> Any:
    """`copy.replace` of Python 3.13, which classes serve by `__replace__`; of 3.11's, data classes and named tuples."""
    if hasattr(type(obj), "_replace"):
        return obj._replace(**changes)
    if hasattr(type(obj), "__dataclass_fields__"):
        return type(obj)(**_list_fields(obj) | changes)
    return type(obj).__replace__(obj, **changes)


def _list_fields(obj: Any) -> dict[str, Any]:
    return {name: getattr(obj, name) for name, found in type(obj).__dataclass_fields__.items() if found.init}


def _walk(self: Path, top_down: bool = True, on_error: Any = None, follow_symlinks: bool = False) -> Iterator[Any]:
    """`Path.walk` of Python 3.12."""
    for folder, folders, files in os.walk(self, top_down, on_error, follow_symlinks):
        yield Path(folder), folders, files
