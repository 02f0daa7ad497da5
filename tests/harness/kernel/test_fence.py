"""A mistake of the grader's own beside a notebook: the notebook goes on, the host hears of it, no student reads it."""

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grader.kernel import fence
from grader.kernel.wrapping import wrap

FILE = str(Path(fence.__file__).with_name("planted.py"))  # code that counts as ours


def ours(source: str) -> Any:
    """Return the function `f` that a source defines, as if it stood in the kernel's folder."""
    namespace: dict[str, Any] = {"fence": fence}
    exec(compile(source, FILE, "exec"), namespace)
    return namespace["f"]


def theirs(source: str) -> Any:
    """Return the function `g` of a notebook's cell."""
    namespace: dict[str, Any] = {}
    exec(compile(source, "/tmp/ipykernel_1/2.py", "exec"), namespace)
    return namespace["g"]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(fence, "_faults", [])
    monkeypatch.setattr(fence.events, "emit", lambda kind, **fields: found.append(fields["hook"]))
    return found


def call(replacement: Any, original: Callable[..., Any], *args: Any) -> Any:
    library = types.SimpleNamespace(work=original)
    wrap(library, "work", replacement)
    return library.work(*args)


BUG = "raise AttributeError('ours')"


@pytest.mark.parametrize(
    ("source", "value", "faults"),
    [
        pytest.param("def f(original, x): return original(x) + 1", 11, 0, id="no mistake"),
        pytest.param(f"def f(original, x): {BUG}", 10, 1, id="before the original"),
        pytest.param(f"def f(original, x):\n    original(x)\n    {BUG}", 10, 1, id="after it"),
        pytest.param("def f(original, x): return original(x, nowhere)", 10, 1, id="in its arguments"),
    ],
)
def test_the_original_is_done_all_the_same(source: str, value: int, faults: int, told: list[str]) -> None:
    calls = []
    assert call(ours(source), lambda x: calls.append(x) or 10, 1) == value
    assert (len(told), calls) == (faults, [1])


@pytest.mark.parametrize(
    ("source", "raised", "faults"),
    [
        pytest.param("def f(original, x): return original(x)", "KeyError: 'theirs'", 0, id="passed on"),
        pytest.param(
            f"def f(original, x):\n    try: original(x)\n    except KeyError: {BUG}", "KeyError", 1, id="handled"
        ),
        pytest.param(f"def f(original, x): {BUG}", "KeyError", 0, id="what both refuse"),
        pytest.param(
            "def f(original, x): raise fence.tell(OSError('no such model'))", "OSError: no such", 0, id="told"
        ),
        pytest.param("def f(original, x): return f(original, x)", "RecursionError", 0, id="a stack that is used up"),
    ],
)
def test_what_a_student_reads(source: str, raised: str, faults: int, told: list[str]) -> None:
    def original(x: int) -> None:
        raise KeyError("theirs")

    with pytest.raises((KeyError, OSError, RecursionError)) as found:
        call(ours(source), original, 1)
    assert f"{type(found.value).__name__}: {found.value}".startswith(raised)
    assert len(told) == faults


SHIELDED = [
    pytest.param(f"def f(x): {BUG}", "otherwise", 1, id="ours"),
    pytest.param("def f(x): return x()", "otherwise", 0, id="an object of the student's raises"),
    pytest.param("def f(x): return fence.ask(int, x)", "otherwise", 0, id="it is asked for what it is not"),
    pytest.param("def f(x): return int(x)", "otherwise", 1, id="it is taken for what it is not"),
    pytest.param("def f(x): return 1", 1, 0, id="no mistake"),
]


@pytest.mark.parametrize(("source", "value", "faults"), SHIELDED)
def test_hooks(source: str, value: Any, faults: int, told: list[str]) -> None:
    hook = fence.shield(lambda x: "otherwise")(ours(source))
    assert hook(theirs("def g(): raise ValueError('theirs')")) == value
    assert len(told) == faults


ASKED = [
    pytest.param(f"def f(g):\n    {BUG}", True, id="ours"),
    pytest.param("def f(g):\n    g()", False, id="a student's function raises"),
    pytest.param("def f(g):\n    fence.ask(g, 1)", False, id="it cannot be called so"),
    pytest.param(
        "def f(g):\n    import json; json.loads('x')", False, id="a library, for which a student may be the cause"
    ),
]


@pytest.mark.parametrize(("source", "is_ours"), ASKED)
def test_whose_an_error_in_a_probe_is(source: str, is_ours: bool) -> None:
    with pytest.raises((AttributeError, ValueError, TypeError)) as found:
        ours(source)(theirs("def g(): raise ValueError('theirs')"))
    assert fence.is_raised_by_us(found.value) is is_ours


def test_the_last_resort_raises_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(fence, "_faults", [])
    for way in ("emit", "send"):
        monkeypatch.setattr(fence.events, way, ours(f"def f(kind, **fields): {BUG}"))
    for number in range(2 * fence.MAX_FAULTS):
        fence.note(f"hook {number}", ValueError("secret"))
    assert "secret" not in capsys.readouterr().out
    assert len(fence._faults) == fence.MAX_FAULTS
