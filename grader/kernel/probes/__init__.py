"""Probes elicit behaviour of what the student wrote and write it down. They know no right answer.

Each family is one call, `run(family)`, made by the host after the notebook's last cell.
"""

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from IPython import get_ipython
from torch import Tensor

from grader.kernel.fence import note_unless_theirs
from grader.kernel.namespace import Bindings
from grader.kernel.probes import functions, lora
from grader.kernel.session import get_session
from grader.kernel.writing import write_json, write_tensors
from grader.protocol.records import Answers

Observed = tuple[Answers[Any], dict[str, Tensor]]


def ask_each(ask: Callable[[Any, Any], Any], definition: Any, request: dict[str, Any]) -> Observed:
    """Ask a function of the student's about each of the models that `request["models"]` describes."""
    return Answers(items=tuple(ask(definition, description) for description in request["models"])), {}


# What the student defines -> how it is asked, given the definition and the host's request.
FAMILIES: dict[str, Callable[[Any, dict[str, Any]], Observed]] = {
    "count": functools.partial(ask_each, functions.count),
    "extract": functools.partial(ask_each, functions.extract),
    "replace": functools.partial(ask_each, functions.replace),
    "lora": lora.ask,
}


def run(family: str, request: dict[str, Any]) -> None:
    """Run one family in the kernel of the current session and write `probe-FAMILY.json` and `.safetensors`."""
    try:
        _run(family, request)
    except Exception as error:  # what a student's code raises is part of the answers
        note_unless_theirs(f"the questions about {family}", error)
        raise


def _run(family: str, request: dict[str, Any]) -> None:
    session = get_session()
    session.integrity.examine()
    os.chdir(session.plan.folder)  # wherever the notebook went
    answers, tensors = observe(family, request, session.bindings, get_ipython().user_ns)
    if tensors:
        write_tensors(session.plan.evidence, f"probe-{family}.safetensors", tensors)
    write_json(session.plan.evidence, f"probe-{family}.json", answers)


def observe(family: str, request: dict[str, Any], bindings: Bindings, namespace: dict[str, Any]) -> Observed:
    """Run one family on the definitions in `bindings`; if it failed, again with shadowed names restored."""
    found = bindings.lookup(family)
    if found is None:
        return Answers(), {}
    with compute_as_usual():
        return _observe(family, *found, request, bindings, namespace)


def _observe(
    family: str, name: str, definition: Any, request: dict[str, Any], bindings: Bindings, namespace: dict[str, Any]
) -> Observed:
    answers, tensors = FAMILIES[family](definition, request)
    for definitions in (False, True):
        if not _has_failed(answers):
            break
        with bindings.restore(namespace, definitions):
            again, again_tensors = FAMILIES[family](definition, request)
        if not _has_failed(again):
            answers, tensors = again, again_tensors
    return Answers(name, answers.items), tensors


@contextmanager
def compute_as_usual() -> Iterator[None]:
    """Compute with gradients and in float32 for a while, whatever the notebook left switched off at its end."""
    kind = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(kind)


def _has_failed(answers: Answers[Any]) -> bool:
    return any(item.error for item in answers.items)
