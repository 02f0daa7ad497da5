"""What Python 3.12 and later read and have, on a grader of 3.11."""

import copy
import dataclasses
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from grader.kernel.compat import newer_library, newer_syntax

NAMES = {"d": {"a": 1.5}, "b": ["u", "v"], "x": 3.25, "w": 8}
# f-strings of Python 3.12, and what they are there.
STRINGS = {
    "the same quotes": (r"""f"{d["a"]}" """, "1.5"),
    "a backslash": (r"""f"{'\n'.join(b)}" """, "u\nv"),
    "formats, doubled braces": (
        r"""f"x {d["a"]:.3f} {{y}} {x!r:>{w}} {"a" if d["a"] > 1 else "b"}" """,
        "x 1.500 {y}     3.25 a",
    ),
    "nested": (r"""f"{f"{f"{1+1}"}"}" """, "2"),
    "beside others": (
        r"""("p {q} " f"{d["a"]}"  # why "
        " {s}" f"{x}")""",
        "p {q} 1.5 {s}3.25",
    ),
    "continued": ('"{q} " \\\n f"{d["a"]}"', "{q} 1.5"),
    "with its expression": (r"""f"{x = }{d["a"]}" """, "x = 3.251.5"),
    "lines and a comment": ('f"{\n x # comment "\n }{d["a"]}"', "3.251.5"),
    "raw": (r"""rf"\d{d["a"]}\n" """, r"\d1.5\n"),
    "escapes": (r"""f"\N{BULLET} {d["a"]} \t {x != 3}" """, "\N{BULLET} 1.5 \t True"),
    "three quotes": ('f"""{d["a"]}\n"hi" {"\\t".join(b)}"""', '1.5\n"hi" u\tv'),
    "in an expression": (r"""f"{d["a"]}".upper() + f"{x:{w}.{w}f}" """, "1.53.25000000"),
    "a comprehension": (r"""f'{", ".join(f'{k}: {v:.2f}' for k, v in d.items())}' """, "a: 1.50"),
    "others stay": (r"""[f"{d['a']}", f"{"\\"}", "it's {", b"a", r"\{"]""", ["1.5", "\\", "it's {", b"a", r"\{"]),
    "a lambda": (r"""f"{(lambda q: q)(x)} {d["a"]!s:>5}" """, "3.25   1.5"),
    "two statements": ('f"{d["a"]}"\n"below"', "1.5"),
}


@pytest.mark.parametrize(("source", "expected"), STRINGS.values(), ids=STRINGS)
def test_an_f_string_means_what_it_means_there(source: str, expected: Any) -> None:
    rewritten = newer_syntax.rewrite_strings(f"r = {source}")
    namespace: dict[str, Any] = dict(NAMES)
    exec(rewritten, namespace)
    assert namespace["r"] == expected
    assert rewritten.count("\n") == source.count("\n")


LEFT = {
    "no string that ends": 'x = f"{d["a"]',
    "a brace as an escape": r"""x = f"\x7b{d["a"]}" """,
    "a mistake besides": 'x = f"{d["a"]}"\nprint(1',
    "an expression that cannot be shown": """x = f"{d["a"]=}" """,
    "read as it is": "type = 3\nx = f'{type}'\n",
}


@pytest.mark.parametrize("source", LEFT.values(), ids=LEFT)
def test_what_is_unclear_stays(source: str) -> None:
    if newer_syntax.can_read(source) and "as it is" not in source and "type" not in source:
        pytest.skip("this Python reads it")
    lines = source.splitlines(keepends=True)
    assert newer_syntax.rewrite_cell(lines) == lines


class Pair(NamedTuple):
    a: int
    b: int


@dataclasses.dataclass(frozen=True)
class Setting:
    rank: int
    alpha: int = dataclasses.field(default=24)


def test_names_that_came_later(tmp_path: Path) -> None:
    newer_library.supply_names()
    new: Any = itertools
    assert list(new.batched("abcde", 2)) == [("a", "b"), ("c", "d"), ("e",)]
    new = copy
    assert new.replace(Setting(8), rank=12) == Setting(12)
    assert new.replace(Pair(1, 2), b=3) == Pair(1, 3)
    (tmp_path / "in").mkdir()
    new = tmp_path
    assert [folder.name for folder, _, _ in new.walk()] == [tmp_path.name, "in"]
    exec("from typing import override, TypeIs\nfrom warnings import deprecated\nfrom math import sumprod", {})


def test_what_they_do_here() -> None:
    with pytest.raises(ValueError, match="incomplete batch"):
        list(newer_library._batch("abc", 2, strict=True))
    assert newer_library._sum_products([1, 2], [3, 4]) == 11
