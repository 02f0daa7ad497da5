"""The statements behind a training: what starts it, which model it trains, and what made that model what it is.

The trainings themselves are recorded (see `kernel/training`). This module only finds the lines that are about them.
"""

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from grader.judging.places.code import Code, Spot, Step, calls, list_names, list_nodes, list_read, name_of, root_of
from grader.judging.places.lora_code import list_gradient_values

OPTIMISERS: Final = ("AdamW", "Adam", "SGD", "RMSprop", "Adafactor", "Adagrad", "NAdam", "RAdam", "LBFGS")


@dataclass(frozen=True)
class History:
    """A training and what came before it.

    `start`: the statement that trains. `builder`: the one that names its model. `model`: how it names it. `origin`: the
    one that made the model. `linked`: statements from there on that are about the model, in order; `window`: all.
    """

    code: Code
    start: Step
    builder: Step
    model: ast.expr | None
    origin: Step | None
    linked: tuple[Step, ...]
    window: tuple[Step, ...]

    @property
    def gradient_lines(self) -> tuple[Spot, ...]:
        """The lines that set `requires_grad` in this model: in statements about it, or in functions that they call."""
        return tuple(spot for step in self.linked for spot in self.find_gradient_lines(step))

    def find_gradient_lines(self, step: Step) -> Iterator[Spot]:
        """Yield the lines of a statement, and of the functions that it calls, that set `requires_grad`."""
        for spot in self.code.follow(step, levels=1):
            lines = [spot] if spot is step else spot.find_all(_is_simple)
            yield from (line for line in lines if list_gradient_values(line.node))

    def list_calling(self, *names: str) -> list[Step]:
        """Return the statements about the model that call one of these, themselves or in a function that they call."""
        called = calls(*names)
        return [s for s in self.linked if any(spot.find(called) for spot in self.code.follow(s, levels=1))]

    @cached_property
    def pretrained(self) -> Spot | None:
        """The `num_labels` of the call that loaded the model, or that call."""
        spots = [s for step in (self.origin, self.builder) if step for s in self.code.follow(step, levels=2)]
        loaded = next((s for spot in spots if (s := spot.find(calls("from_pretrained", "from_config")))), None)
        if loaded is None:
            return None
        return loaded.find(lambda node: isinstance(node, ast.keyword) and node.arg == "num_labels") or loaded

    def find_argument(self, name: str) -> Spot | None:
        """Return the line that gives a `Trainer` this argument, or sets it afterwards."""
        for step in reversed(self.linked):
            if any(isinstance(n, ast.Attribute) and n.attr == name for n in _list_targets(step.node)):
                return step
        given = [s for step in (self.builder, self.start) for s in self.code.follow(step)]
        found = (spot.find(lambda n: isinstance(n, ast.keyword) and n.arg == name) for spot in given)
        return next((spot for spot in found if spot), None)

    def find_call_with(self, split: str, steps: Sequence[Step]) -> Spot | None:
        """Return the first call that gets the reviews of a split and makes no `Trainer`; `steps`: of the notebook.

        It is in the training, before it, or in a statement after it about the model or its `Trainer`.
        """
        names = {root_of(self.model) if self.model is not None else ""} | self.builder.assigned
        later = [step for step in steps[steps.index(self.start) + 1 :] if step.names & names]
        spots = [s for step in (self.start, *self.linked, *later) for s in self.code.follow(step, levels=2)]
        called = (call for spot in spots for call in spot.find_all(lambda node: _gets(node, split)))
        return next((call for call in called if not _is_trainer_class(_called(call.node))), None)

    @property
    def trainer(self) -> Spot | None:
        """The call that makes the `Trainer`, in the notebook or in a function of its own."""
        spots = [s for step in (self.builder, self.start) for s in self.code.follow(step, levels=2)]
        made = (spot.find(lambda node: _is_trainer_class(_called(node))) for spot in spots)
        return next((spot for spot in made if spot), None)

    @property
    def optimiser(self) -> Spot | None:
        """The line that makes an optimiser of the notebook's own, or gives one to the `Trainer`."""
        steps = dict.fromkeys((*self.linked, self.builder, self.start))
        spots = [s for step in steps for s in self.code.follow(step, levels=2)]
        made = next((s for spot in spots if (s := spot.find(calls(*OPTIMISERS)))), None)
        return made or self.find_argument("optimizers") or self.find_argument("optimizer")


class TrainingCode:
    """All statements of a notebook that train something."""

    def __init__(self, code: Code) -> None:
        """Nothing is searched before a question is asked."""
        self.code, self.steps = code, code.steps

    @cached_property
    def trainers(self) -> frozenset[str]:
        """The variables that hold a `Trainer`, in any function or outside."""
        nodes = (node for tree in self.code.trees.values() for node in list_nodes(tree))
        made = (n for n in nodes if isinstance(n, ast.Assign) and any(map(self.builds, ast.walk(n.value))))
        return frozenset(name_of(target) for node in made for target in node.targets)

    def builds(self, node: ast.AST) -> bool:
        """Return True if a call makes a `Trainer`, itself or in a function of the notebook."""
        if not isinstance(node, ast.Call):
            return False
        name = name_of(node.func)
        return _is_trainer_class(name) or self._function_does(name, lambda n: _is_trainer_class(_called(n)))

    def trains(self, node: ast.AST) -> bool:
        """Return True if a call trains: `trainer.train()`, `loss.backward()`."""
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return False
        owner = node.func.value
        if node.func.attr == "train":
            name = name_of(owner)
            return (
                name in self.trainers
                or "trainer" in name.lower()
                or (isinstance(owner, ast.Call) and self.builds(owner))
            )
        return node.func.attr == "backward"

    def _function_does(self, name: str, test: Callable[[ast.AST], bool]) -> bool:
        spot = self.code.definitions.get(name)
        return spot is not None and any(s.find(test) for s in self.code.follow(spot, levels=2))

    def _does(self, step: Step, test: Callable[[ast.AST], bool]) -> bool:
        return any(spot.find(test) for spot in self.code.follow(step))

    @cached_property
    def training_steps(self) -> tuple[Step, ...]:
        """The statements outside of functions that train, in order."""
        return tuple(step for step in self.steps if self._does(step, self.trains))

    @cached_property
    def building_steps(self) -> tuple[Step, ...]:
        """The statements outside of functions that make a `Trainer`, in order."""
        return tuple(step for step in self.steps if any(map(self.builds, ast.walk(step.node))))

    def find_step(self, index: int, cells: Sequence[int | None]) -> Step | None:
        """Return the statement of a training; `cells`: of each training, as far as it is known."""
        known = cells[index]
        found = [s for s in self.training_steps if known is None or s.cell == known]
        same = [i for i, cell in enumerate(cells) if known is None or cell == known]
        if len(found) == len(same):
            return found[same.index(index)]
        return found[-1] if found and known is not None else None

    def list_untrained(self, trained: Sequence[Step]) -> list[Step]:
        """Return the statements that make a `Trainer` which trains nothing; `trained`: those that did train."""
        used = [step for start in trained for step in (start, self.find_builder(start))]
        return [step for step in self.building_steps if step not in used and step not in self.training_steps]

    def find_builder(self, start: Step) -> Step:
        """Return the statement that makes what `start` trains with; itself where it does so."""
        if any(map(self.builds, ast.walk(start.node))):
            return start
        names = list_names(start.node) & self.trainers
        return self._find_assignment(names, start) or start

    def _find_assignment(self, names: frozenset[str], before: Step) -> Step | None:
        earlier = self.steps[: self.steps.index(before)]
        return next((step for step in reversed(earlier) if step.assigned & names), None)

    def trace(self, start: Step) -> History:
        """Return what came before a training."""
        builder = self.find_builder(start)
        model = self.find_model(builder)
        name = root_of(model) if model is not None else ""
        origin = self._find_origin(name, builder) if name and not isinstance(model, ast.Call) else None
        first = self.steps.index(origin or builder)
        window = self.steps[first : self.steps.index(start) + 1]
        return History(self.code, start, builder, model, origin, _link(window, name), window)

    def find_model(self, builder: Step) -> ast.expr | None:
        """Return the model that a statement trains, as it is written there."""
        found = [node for node in list_nodes(builder.node) if isinstance(node, ast.Call)]
        named = (k.value for call in found for k in call.keywords if k.arg == "model")
        makers = [c for c in found if self.builds(c) or self._function_does(name_of(c.func), self.trains)]
        given = (a for call in makers for a in call.args if not isinstance(a, (ast.Constant, ast.JoinedStr)))
        return next(named, None) or next((a for a in given if not self.builds(a)), None)

    def _find_origin(self, name: str, before: Step) -> Step | None:
        """Return the last statement that made this model, not only changed it: `model = model.to(device)`."""
        found = self._find_assignment(frozenset({name}), before)
        while found is not None and name in list_read(found.node):
            found = self._find_assignment(frozenset({name}), found)
        return found


def _link(window: Sequence[Step], name: str) -> tuple[Step, ...]:
    """Return the statements about a variable, and about what was made from it."""
    linked, names = [], {name}
    for step in window:
        if step.names & names:
            linked.append(step)
            names |= step.assigned
    return tuple(linked)


def _list_targets(node: ast.AST) -> list[ast.expr]:
    return [*node.targets] if isinstance(node, ast.Assign) else []


def _gets(node: ast.AST, split: str) -> bool:
    """Return True for a call with `data["train"]`, `train_data` or the like among its arguments."""
    given = [*node.args, *(k.value for k in node.keywords)] if isinstance(node, ast.Call) else []
    keys = [getattr(a.slice, "value", "") if isinstance(a, ast.Subscript) else name_of(a) for a in given]
    return any(split in str(key).lower() and "trainer" not in str(key).lower() for key in keys)


def _called(node: ast.AST) -> str:
    return name_of(node.func) if isinstance(node, ast.Call) else ""


def _is_trainer_class(name: str) -> bool:
    return name.endswith("Trainer") and name[0].isupper()


def _is_simple(node: ast.AST) -> bool:
    return isinstance(node, (ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return))
