"""Notes every training of this kernel, by Trainer or by a loop of the student's own.

A training is as it would be without: what goes wrong here is noted, too.
"""

import contextlib
import functools
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from IPython import get_ipython

from grader.protocol.records import Entry
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
        self.unseen: list[str] = []  # why trainings since the last noted one were not, a sentence part each
        self.ran: list[Ran] = []
        self.began: int | None = None  # the number of the cell that first imported this
        self._trained: dict[int, Noted] = {}  # id of a Trainer -> its last training
        self._depth = 0  # of calls of `Trainer.train`
        self._loops: dict[int, Any] = {}  # thread -> the loop that steps in it, as `loops.Loop`
        self._others: weakref.WeakSet[Any] = weakref.WeakSet()  # optimisers of this cell that train none of the models

    def begin(self) -> None:
        """Watch from now on, if this is a notebook."""
        if get_ipython() is not None:
            self.attempt(self._install)

    def attempt(self, note: Callable[..., T], *args: Any, of_training: bool = True) -> T | None:
        """Call a function that notes something; return None where it fails. Never raises, changes no random number.

        What fails is remembered where a training is lost by it.
        """
        try:
            with keep_random_states():
                return note(*args)
        except (
            Exception
        ) as error:  # a student's model, a library and a disk may raise anything, and the training goes on
            if of_training and len(self.unseen) < MAX_UNSEEN:
                self.unseen.append(f"{type(error).__name__}: {error}"[:300])
            return None

    def _install(self) -> Any:
        """Watch, and return what ends the watch over optimisers."""
        note_cell = functools.partial(self.attempt, self._note_cell, of_training=False)
        get_ipython().events.register("pre_run_cell", note_cell)
        get_ipython().events.register("post_run_cell", functools.partial(self.attempt, self._end_cell))
        from torch.optim.optimizer import register_optimizer_step_pre_hook
        from transformers import PreTrainedModel, Trainer

        _follow(Trainer, "train", self._train)
        _follow(Trainer, "call_model_init", self._make)
        _follow(Trainer, "save_model", self._save)
        _follow(PreTrainedModel, "save_pretrained", self._save_pretrained)
        hook = register_optimizer_step_pre_hook(self._before_step)
        self.began = len(get_ipython().history_manager.input_hist_parsed) - 1
        return hook

    def _note_cell(self, info: Any) -> None:
        """Note a cell. What an editor runs for itself, such as VS Code for its list of variables, has no number."""
        if info.store_history:
            self.ran.append(Ran(getattr(info, "cell_id", None), info.raw_cell, time.time()))

    def _train(self, original: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if not self._depth:
            self.attempt(self._end_loop)
        noted = self.attempt(self._note_start, trainer)
        self._depth += 1
        try:
            output = original(trainer, *args, **kwargs)
        except BaseException as error:
            self.attempt(self._note_trained, noted, trainer, type(error).__name__)
            raise
        finally:
            self._depth -= 1
        self.attempt(self._note_trained, noted, trainer)
        return output

    def _save(self, original: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        output = original(trainer, *args, **kwargs)
        internal = kwargs.get("_internal_call", args[1] if len(args) > 1 else False)
        if not internal:
            folder = args[0] if args else kwargs.get("output_dir")
            self.attempt(self._note_saved, trainer.model, folder or trainer.args.output_dir, of_training=False)
        return output

    def _save_pretrained(self, original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        output = original(model, *args, **kwargs)
        folder = args[0] if args else kwargs.get("save_directory")
        self.attempt(self._note_saved, model, folder, of_training=False)
        return output

    def _make(self, original: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
        """Call `model_init`. A training that has begun trains what it returns."""
        __tracebackhide__ = True
        model = original(trainer, *args, **kwargs)
        noted = self._trained.get(id(trainer))
        if noted is not None and noted.ended_s is None:
            self.attempt(self._describe, noted, model)
        return model

    def _note_start(self, trainer: Any) -> Noted:
        folder = Path(str(getattr(trainer.args, "output_dir", "")))
        noted = self._note(trainer.model, folder.name)
        noted.folder = str(folder.absolute())
        self._trained[id(trainer)] = noted
        return noted

    def _note_trained(self, noted: Noted | None, trainer: Any, error: str = "") -> None:
        if noted is not None:
            if not error:
                self.attempt(self._note_unheld, noted, trainer, of_training=False)
            self._note_end(noted, trainer.model, error)

    def _note_unheld(self, noted: Noted, trainer: Any) -> None:
        from grader.kernel.training import observation
        from grader.student.numbers import find_unheld

        noted.unheld = find_unheld(observation.unwrap(trainer.model), [trainer.optimizer])

    def _note(self, trained: Any, *called: str, via: str = "Trainer") -> Noted:
        from grader.student import cells, notebook_file
        from grader.student.placing import place, place_together, read_name

        noted = Noted("", Entry("", 0, 0), time.time(), cells.count(), via=via)
        self._describe(noted, trained)
        before = next((one.cell for one in reversed(self.trainings)), None)
        section = notebook_file.find_step(cells.read_source(), self.ran[-1].id if self.ran else None)
        names, labels = cells.list_names(trained), [*called, *cells.list_labels()]
        noted.step = place(noted.entry, section, names, labels, cells.list_since(before))
        noted.named = any(map(read_name, [*names, *labels]))
        self.trainings.append(noted)
        place_together([one for one in self.trainings if one.cell is not None and one.cell == noted.cell])
        self.unseen.clear()
        return noted

    def _describe(self, noted: Noted, trained: Any) -> None:
        """Note a model as a training finds it."""
        from grader.kernel import weights
        from grader.kernel.training import observation
        from grader.student import definitions
        from grader.student.network import load_shapes
        from grader.student.numbers import digest_encoder

        model, shapes = observation.unwrap(trained), load_shapes()
        noted.entry, noted.encoder = observation.describe_form(model, shapes), digest_encoder(model)
        noted.layers = definitions.read_classes(weights.find_wrapped(model, shapes).values())
        noted.model = weakref.ref(model)

    def _note_end(self, noted: Noted, trained: Any, error: str = "") -> None:
        from grader.kernel.training import observation
        from grader.student.numbers import digest_encoder

        noted.finished, noted.error, noted.ended_s = not error, error, time.time()
        if trained is not None:  # a loop's own may be gone by now
            model = observation.unwrap(trained)
            noted.left, noted.left_encoder = observation.hash_head_tensors(model), digest_encoder(model)
        self._keep()

    def _before_step(self, optimizer: Any, *_: Any) -> None:
        """Note a loop at its first step; the others cost a look-up, and a look at the line that runs."""
        if self._depth or optimizer in self._others:
            return
        loop = self._loops.get(threading.get_ident())
        if loop is None or not loop.takes(optimizer):
            loop = self.attempt(self._note_loop, optimizer)
        if loop is not None:
            loop.note_position()

    def _note_loop(self, optimizer: Any) -> Any:
        from grader.student.loops import Loop, find_trained

        self._others.add(optimizer)
        model = find_trained(optimizer)
        if model is None:
            return None
        loop = self._loops.get(threading.get_ident())
        if loop is None or not loop.goes_on(model):
            self._end_loop()
            loop = Loop(self._note(model, via="loop"), model)
            self._loops[threading.get_ident()] = loop
        loop.take(optimizer, model)
        self._others.discard(optimizer)
        return loop

    def _end_cell(self, result: Any) -> None:
        self._others.clear()
        self._end_loop(result.error_in_exec)
        self.end_threads()

    def end_threads(self) -> None:
        """End the loops of threads that have ended: nothing else shows it."""
        for ident, loop in list(self._loops.items()):
            if not loop.thread.is_alive():
                self._end_loop(of=ident)

    def _end_loop(self, error: BaseException | None = None, of: int | None = None) -> None:
        """A loop has no end that shows: it ends when another training begins, with its cell, or with its thread."""
        from grader.student.loops import is_ended_by

        loop = self._loops.pop(of or threading.get_ident(), None)
        if loop is not None:
            ended = error is not None and is_ended_by(error, loop.at)
            self._note_end(loop.noted, loop.model(), type(error).__name__ if ended else "")

    def _note_saved(self, model: Any, folder: Any) -> None:
        """Note where the last training of a model is saved. Whether that is what it left is seen when it is needed."""
        held = (noted for noted in reversed(self.trainings) if noted.model is not None and noted.model() is model)
        noted = next(held, None)
        if noted is not None:
            noted.saved = str(Path(str(folder)).absolute())
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
