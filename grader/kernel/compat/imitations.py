"""Packages that are not installed here and of which a little is imitated, because notebooks rely on that little.

- `wandb` hands a run's configuration back, and a sweep calls its function once, with the first value of each parameter.
- `optuna` calls the function of a study once, with the first value of everything that it suggests.
- `ipywidgets` have the values that they begin with, and `interact` calls its function once, with those.
- `clearml` hands settings back that a task is connected with, and a `wordcloud` is a picture without words.
- `tensorflow` seeds and looks for GPUs, and nothing else: whatever else is asked of it is missing.
- `nest_asyncio` is `nest_asyncio2`, which continues it.
"""

import importlib
import importlib.abc
import importlib.machinery
import logging
import random
import sys
import traceback
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NoReturn, Self

import numpy as np

from grader.kernel.compat.stub_packages import NOTHING, StubModule
from grader.kernel.fence import shield


def _do_nothing(*args: Any, **kwargs: Any) -> None:
    """Do nothing."""


def _list_none(*args: Any, **kwargs: Any) -> list[Any]:
    return []


def _seed(seed: int) -> None:
    """Seed what `keras.utils.set_random_seed` seeds besides TensorFlow."""
    random.seed(seed)
    np.random.seed(seed)


TENSORFLOW: Mapping[str, Mapping[str, Any]] = {  # module -> what is in it
    "tensorflow": {"__version__": "2.19.0", "get_logger": lambda: logging.getLogger("tensorflow")},
    "tensorflow.random": {"set_seed": _do_nothing},
    "tensorflow.keras": {},
    "tensorflow.keras.utils": {"set_random_seed": _seed},
    "tensorflow.keras.backend": {"clear_session": _do_nothing},
    "tensorflow.config": {"list_physical_devices": _list_none, "list_logical_devices": _list_none},
    "tensorflow.config.experimental": {
        **dict.fromkeys(("set_memory_growth", "enable_op_determinism"), _do_nothing),
        "list_physical_devices": _list_none,
    },
    "tensorflow.test": {"gpu_device_name": lambda: "", "is_gpu_available": lambda *a, **k: False},
    "tensorflow.compat": {},
    "tensorflow.compat.v1": {"set_random_seed": _do_nothing},
    "tensorflow.compat.v1.logging": {"set_verbosity": _do_nothing, "ERROR": logging.ERROR},
}


class PartialModule(ModuleType):
    """A module of which little is there. Asking for anything else raises what importing the package would raise."""

    __path__: list[str] = []  # noqa: RUF012 - of every package

    def __getattr__(self, name: str) -> NoReturn:
        """Raise; names of protocols are simply missing."""
        if name.startswith("__"):
            raise AttributeError(name)
        package = self.__name__.partition(".")[0]
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)


class Configuration(dict[str, Any]):
    """What `wandb.config` is: items that are attributes too."""

    def __getattr__(self, name: str) -> Any:
        """Return an item."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the configuration has no {name!r}") from None

    __setattr__ = dict.__setitem__

    def update(self, *others: Any, allow_val_change: bool = True, **items: Any) -> None:
        """Take items in, from dicts and from objects with attributes."""
        for other in others:
            super().update(other if isinstance(other, dict) else vars(other))
        super().update(items)

    setdefaults = update

    def as_dict(self) -> dict[str, Any]:
        """Return the items."""
        return dict(self)


class Imitation:
    """An object that has a few things, and nothing under any other name. `with` opens it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        """Let errors pass through."""

    def __getattr__(self, name: str) -> Any:
        """Return nothing for any name but those of protocols."""
        if name.startswith("__"):
            raise AttributeError(name)
        return NOTHING


class Run(Imitation):
    """A run of `wandb`: it has the configuration, and nothing else."""

    def __init__(self, config: Configuration) -> None:
        self.config = config


class Wandb(StubModule):
    """The part of `wandb` that a notebook's own figures come from."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.config = Configuration()
        self.run: Run | None = None
        self._sweeps: list[Mapping[str, Any]] = []
        self._chosen: dict[str, Any] = {}  # by the sweep that runs

    def init(self, *args: Any, config: Any = None, **kwargs: Any) -> Run:
        """Begin a run. What a sweep chose counts before the notebook's own."""
        settings = Configuration()
        settings.update(config or {}, **self._chosen)
        self.config = settings
        self.run = Run(settings)
        return self.run

    def sweep(self, sweep: Mapping[str, Any], *args: Any, **kwargs: Any) -> str:
        """Remember what a sweep varies."""
        self._sweeps.append(sweep)
        return str(len(self._sweeps) - 1)

    def agent(self, sweep_id: str, function: Any = None, *args: Any, **kwargs: Any) -> None:
        """Call a sweep's function once, with the first value of everything that it varies."""
        index = int(sweep_id) if str(sweep_id).isdecimal() else -1
        parameters = self._sweeps[index].get("parameters", {}) if self._sweeps else {}
        self._chosen = {name: choose(described) for name, described in parameters.items()}
        try:
            if function is not None:
                function()
        finally:
            self._chosen = {}


def choose(described: Mapping[str, Any]) -> Any:
    """Return a value of a sweep's parameter: the one, the first, the smallest, or the mean."""
    values = described.get("values")
    return values[0] if values else next((described[key] for key in ("value", "min", "mu") if key in described), 0)


class Trial(Imitation):
    """A trial of `optuna`: it suggests the first of several choices, or the lower end of a range."""

    value: Any = None

    def __init__(self, params: Mapping[str, Any] | None = None, number: int = 0) -> None:
        self.params, self.number = dict(params or {}), number

    def __getattr__(self, name: str) -> Any:
        """Return what suggests a parameter, for a name that says so."""
        return self._suggest if name.startswith("suggest_") else super().__getattr__(name)

    def _suggest(self, name: str, first: Any = None, *args: Any, **described: Any) -> Any:
        first = described.get("choices", described.get("low", first))
        return self.params.setdefault(name, first[0] if isinstance(first, (list, tuple)) else first)


class Study(Imitation):
    """A study of `optuna`, with one trial, which is the best."""

    def optimize(self, function: Any, *args: Any, **kwargs: Any) -> None:
        """Call a function with a trial."""
        self.best_trial = Trial()
        self.trials = [self.best_trial]
        self.best_params = self.best_trial.params
        self.best_value = self.best_trial.value = function(self.best_trial)

    def _is_multi_objective(self) -> bool:
        """Return False: transformers asks for that."""
        return False


class Optuna(StubModule):
    """The part of `optuna` that chooses the parameters of trainings."""

    Trial = Trial
    create_study = load_study = staticmethod(lambda *args, **kwargs: Study())


class Trials(StubModule):
    """`optuna.trial`: transformers asks whether something is of its class."""

    BaseTrial = Trial = FrozenTrial = FixedTrial = Trial


class Widget(Imitation):
    """A slider, a menu, a button, a box of others: it keeps what it is made with, and nobody touches it."""

    value: Any = NOTHING

    def __init__(self, *given: Any, **settings: Any) -> None:
        options = settings.get("options") or ()
        options = [*options.items()] if isinstance(options, dict) else [*options]
        plain = [value for value in given[:1] if isinstance(value, (str, int, float))]  # a box is given its children
        first = plain[0] if plain else options[0] if options else settings.get("min", NOTHING)
        vars(self).update({"value": first[1] if options and isinstance(first, tuple) else first} | settings)


def interact(function: Any = None, *args: Any, **described: Any) -> Any:
    """Call a function once with the first value of everything that could be chosen. Decorates, too.

    An error in it is shown and stops nothing, as with the real one.
    """
    if function is None or args:
        return lambda decorated: interact(decorated, **described)
    try:
        function(**{name: choose_first(value) for name, value in described.items()})
    except Exception:
        traceback.print_exc()
    return function


def choose_first(described: Any) -> Any:
    """Return the value that a widget begins with; `(1, 64)` and `["a", "b"]` are short for widgets."""
    if isinstance(described, Widget):
        return described.value
    if isinstance(described, dict):
        return next(iter(described.values()))
    return described[0] if isinstance(described, (list, tuple)) else described


class Widgets(StubModule):
    """`ipywidgets`, of which every class is the same one."""

    interact = staticmethod(interact)
    fixed = staticmethod(lambda value: Widget(value=value))

    def __getattr__(self, name: str) -> Any:
        """Return the class of all widgets, or nothing for what is written small: functions and modules."""
        return Widget if name[:1].isupper() else super().__getattr__(name)


class Task(Imitation):
    """A task of `clearml`: it gives settings back unchanged."""

    @classmethod
    def init(cls, *args: Any, **kwargs: Any) -> "Task":
        """Return a task."""
        return cls()

    create = current_task = get_task = init

    def connect(self, settings: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the settings."""
        return settings

    connect_configuration = connect


class ClearMl(StubModule):
    """The part of `clearml` that hands something back."""

    Task = Task


class WordCloud(Imitation):
    """A picture without words, which can be drawn."""

    def __init__(self, *args: Any, width: int = 400, height: int = 200, **kwargs: Any) -> None:
        self.width, self.height = width, height

    def generate(self, *args: Any, **kwargs: Any) -> "WordCloud":
        """Return the picture."""
        return self

    generate_from_text = generate_from_frequencies = fit_words = recolor = generate

    def to_array(self) -> np.ndarray:
        """Return white pixels: height, width, 3."""
        return np.full((self.height, self.width, 3), 255, dtype=np.uint8)

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        """Return the pixels, for whoever draws them."""
        return self.to_array()


class WordClouds(StubModule):
    """`wordcloud`."""

    WordCloud = WordCloud
    STOPWORDS: frozenset[str] = frozenset()


STUBS: Mapping[str, type[StubModule]] = {
    **{"wandb": Wandb, "ipywidgets": Widgets, "ipywidgets.widgets": Widgets},
    **{"optuna": Optuna, "optuna.trial": Trials},
    **{"clearml": ClearMl, "wordcloud": WordClouds},
}


class ImitationFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what is imitated."""

    @shield()
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """Return a specification for what is imitated."""
        if fullname in (*STUBS, "nest_asyncio", *TENSORFLOW):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> ModuleType:
        """Return a module that is to be filled."""
        if spec.name in STUBS:
            return STUBS[spec.name](spec.name)
        return PartialModule(spec.name) if spec.name in TENSORFLOW else ModuleType(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Fill a module, and import those below it, which are its attributes."""
        name = module.__name__
        if name == "nest_asyncio":
            module.apply = importlib.import_module("nest_asyncio2").apply  # type: ignore[attr-defined]
        vars(module).update(TENSORFLOW.get(name, {}))
        for below in (*STUBS, *TENSORFLOW):
            if below.rpartition(".")[0] == name:
                importlib.import_module(below)


def install() -> None:
    """Let imports of imitated packages succeed from here on, where they are not installed."""
    sys.meta_path.append(ImitationFinder())
