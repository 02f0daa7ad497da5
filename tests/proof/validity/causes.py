"""`python -m tests.proof.validity.causes`: are students told the cause of what fails, and never another one?

No notebook runs here. The cells of each mutant are executed without data and training (`mock_run`), the probes ask what
they define in this process (it is our own code), and the functions of the suite judge the answers.
"""

import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch

from grader.judging.case import Case
from grader.judging.suite import Advice, Failed, Outcome
from grader.paths import CORPUS, REFERENCE
from tests.proof.validity import cause_pairs, mock_run
from tests.proof.validity.corpus import Base, CaseKind, CorpusCase, read_base, read_corpus
from tests.proof.validity.known_causes import list_named

SEED: Final = 20260101
MODULES: Final = (
    "tests.public.test_step1",
    "tests.public.test_step2",
    "tests.public.test_step3",
    "tests.public.test_step3_gradients",
    "tests.hidden.test_lora",
)
EXAMINED: Final = ("step1.count_function", "step3.extract_", "step3.lora_", "trainable_parameters")
AGAIN: Final = "again"


@dataclass(frozen=True)
class Told:
    """What one failed check of one case says."""

    case: str
    check: str
    expected: frozenset[str]
    named: frozenset[str]
    text: str

    @property
    def right(self) -> bool:
        """Whether an expected cause is named, and no other; or none where none is expected."""
        return self.named <= self.expected and bool(self.named) == bool(self.expected)

    @property
    def wrong(self) -> bool:
        """Whether a cause is named that is not there."""
        return not self.named <= self.expected


@cache
def load_checks() -> Mapping[str, tuple[Any, tuple[str, ...]]]:
    """The functions of the suite about functions, layer and freezing, by check id, and what each requires."""
    marks = [
        (mark.kwargs, function)
        for module in map(importlib.import_module, MODULES)
        for function in vars(module).values()
        for mark in getattr(function, "pytestmark", ())
        if mark.name == "check" and any(part in mark.kwargs["id"] for part in EXAMINED)
    ]
    return {given["id"]: (function, given["requires"]) for given, function in marks}


def list_failures(case: Case, only: str = "") -> Iterator[tuple[str, str]]:
    """Yield the failed checks with their rationales."""
    stopped: set[str] = set()
    for check, (function, requires) in load_checks().items():
        if only not in check:
            continue
        if stopped & set(requires):
            stopped.add(check)
            continue
        try:
            function(case)
        except Advice:
            continue
        except Failed as outcome:
            stopped.add(check)
            yield check, outcome.rationale
        except Outcome:
            stopped.add(check)


def examine(base: Base, case: CorpusCase, seed: int = SEED) -> Iterator[Told]:
    """Yield what each failed check of a case says, of those that the corpus expects to fail."""
    named = [*zip(base.cells, case.cells, strict=False), *((AGAIN, cell) for cell in case.cells[len(base.cells) :])]
    for check, text in list_failures(mock_run.ask(named, seed)):
        if check in case.failed:
            yield Told(case.id, check, frozenset(case.causes), frozenset(list_named(text)), text)


def list_cases(names: Sequence[str]) -> Iterator[tuple[Base, CorpusCase]]:
    """Yield the mutants that fail a check of these kinds."""
    base = read_base(REFERENCE)
    for case in read_corpus(CORPUS, base):
        fails = any(part in check for check in case.failed for part in EXAMINED)
        if (
            case.kind is CaseKind.MUTANT
            and fails
            and case.id != "kernel_dies"
            and case.id.startswith(tuple(names or [""]))
        ):
            yield base, case


def report(found: Iterable[Told], unit: str) -> bool:
    """Print what is told of each case, and the shares. Returns whether nothing is named wrongly."""
    told = list(found)
    for one in told:
        sign = "wrong" if one.wrong else "right" if one.right else "none "
        print(f"{sign} {one.case:32} {one.check:24} {','.join(sorted(one.named)) or '-':30} {one.text}")
    some, wrong = [t for t in told if t.expected], sum(t.wrong for t in told)
    right, silent = sum(t.right for t in some), sum(not t.named for t in some)
    print(f"{len(told)} {unit}, {len(some)} of them with a known cause:")
    print(f"{right} named rightly ({right / max(1, len(some)):.1%}), {silent} not at all; {wrong} of all wrongly")
    return not wrong


def examine_layer(ids: tuple[str, ...], source: str, seed: int = SEED) -> Iterator[Told]:
    """Yield what each failed check of a layer with these mistakes says."""
    cells = [("imports", "import torch\nfrom torch import nn"), ("lora-layer", source)]
    for check, text in list_failures(mock_run.ask(cells, seed, ("lora",)), "step3.lora_"):
        yield Told("+".join(ids), check, cause_pairs.list_names(ids), frozenset(list_named(text)), text)


def main(arguments: Sequence[str]) -> None:
    """Examine the corpus; or with `--pairs [NUMBER/OF]` layers with two mistakes, the NUMBERth of so many parts."""
    torch.set_num_threads(1)
    if arguments[:1] == ["--pairs"] or arguments[:1] == ["--singles"]:
        number, parts = map(int, (arguments[1] if arguments[1:] else "0/1").split("/"))
        layers = list(cause_pairs.list_layers(2 if arguments[0] == "--pairs" else 1))[number::parts]
        told = (told for ids, source in layers for told in examine_layer(ids, source))
        right = report(told, "failed checks of made-up layers")
    else:
        told = (told for base, case in list_cases(arguments) for told in examine(base, case))
        right = report(told, "failed checks of mutants")
    sys.exit(0 if right else 2)


if __name__ == "__main__":
    main(sys.argv[1:])
