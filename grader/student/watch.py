"""Notes every training of this kernel. A training is as it would be without: what goes wrong here is noted, too."""

import contextlib
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from IPython import get_ipython

from grader.student.guards import keep_random_states
from grader.student.notebook_file import Ran
from grader.student.noted import Noted

T = TypeVar("T")
MAX_UNSEEN = 10


class Watch:
    """The trainings of this kernel, oldest first, and the cells that ran."""

    def __init__(self) -> None:
        """Nothing is watched before `begin`."""
        self.trainings: list[Noted] = []
        self.unseen: list[str] = []  # why something could not be noted, a sentence part each
        self.ran: list[Ran] = []
        self._trained: dict[int, Noted] = {}  # id of a Trainer -> its last training

    def begin(self) -> None:
        """Watch from now on, if this is a notebook."""
        if get_ipython() is not None:
            self.attempt(self._install)

    def attempt(self, note: Callable[..., T], *args: Any) -> T | None:
        """Call a function that notes something; return None where it fails. Never raises, changes no random number."""
        try:
            with keep_random_states():
                return note(*args)
        except (
            Exception
        ) as error:  # a student's model, a library and a disk may raise anything, and the training goes on
            if len(self.unseen) < MAX_UNSEEN:
                self.unseen.append(f"{type(error).__name__}: {error}"[:300])
            return None

    def _install(self) -> None:
        get_ipython().events.register("pre_run_cell", functools.partial(self.attempt, self._note_cell))
        from transformers import Trainer

        _follow(Trainer, "train", self._train)
        _follow(Trainer, "save_model", self._save)

    def _note_cell(self, info: Any) -> None:
        self.ran.append(Ran(getattr(info, "cell_id", None), info.raw_cell, time.time()))

    def _train(self, original: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        noted = self.attempt(self._note_start, trainer)
        try:
            output = original(trainer, *args, **kwargs)
        except BaseException as error:
            self.attempt(self._note_stop, noted, type(error).__name__)
            raise
        self.attempt(self._note_end, noted, trainer)
        return output

    def _save(self, original: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        output = original(trainer, *args, **kwargs)
        internal = kwargs.get("_internal_call", args[1] if len(args) > 1 else False)
        if not internal:
            self.attempt(self._note_saved, trainer, args[0] if args else kwargs.get("output_dir"))
        return output

    def _note_start(self, trainer: Any) -> Noted:
        from grader.kernel.training import observation
        from grader.student import cells, notebook_file
        from grader.student.network import load_shapes
        from grader.student.placing import place

        entry = observation.describe_form(observation.unwrap(trainer.model), load_shapes())
        before = next((noted.cell for noted in reversed(self.trainings)), None)
        source = cells.read_source()
        called = [*cells.list_names(trainer.model), Path(str(getattr(trainer.args, "output_dir", ""))).name]
        step = place(entry, notebook_file.find_step(source), called, cells.read_since(before))
        noted = Noted(step, entry, time.time(), cells.count())
        self.trainings.append(noted)
        self._trained[id(trainer)] = noted
        return noted

    def _note_stop(self, noted: Noted | None, error: str) -> None:
        if noted is not None:
            noted.error = error
            self._keep()

    def _note_end(self, noted: Noted | None, trainer: Any) -> None:
        from grader.kernel.training import observation

        if noted is not None:
            noted.finished = True
            noted.left = observation.hash_head_tensors(observation.unwrap(trainer.model))
            self._keep()

    def _note_saved(self, trainer: Any, folder: str | None) -> None:
        noted = self._trained.get(id(trainer))
        if noted is not None and noted.finished:
            noted.saved = str(Path(folder or trainer.args.output_dir).absolute())
            self._keep()

    def _keep(self) -> None:
        """Write down what was noted, for the time after a restart; without a place for it, that time knows nothing."""
        from grader.student import journal, notebook_file

        with contextlib.suppress(OSError):
            journal.keep(notebook_file.get_key(), self.trainings)


def _follow(owner: Any, name: str, replacement: Callable[..., Any]) -> None:
    """Have calls of a method go through `replacement(original, self, …)`, once, whoever imports this again."""
    original = getattr(owner, name)
    original = getattr(original, "unwatched", original)

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        return replacement(original, self, *args, **kwargs)

    call.unwatched = original  # type: ignore[attr-defined]
    setattr(owner, name, call)


WATCH = Watch()
