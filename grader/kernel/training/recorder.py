"""Watches every training: what went in, how it went, what came out. Applies the profile's budget on the way.

`Trainer.train`, `evaluate` and `predict` are wrapped on the class, so subclasses and old references are covered.
A training loop of the student's own is watched by `loops`, through the same `Recorder`.
"""

import contextlib
import functools
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from torch import nn
from transformers import DistilBertModel, Trainer, TrainerCallback

from grader.kernel import modules, weights
from grader.kernel.fence import ask, is_raised_by_us, note, note_if_ours, shield
from grader.kernel.training import budget, gradients, inputs, observation, review_keys
from grader.kernel.training.dropout import use_fast_masks
from grader.kernel.training.exports import Exports
from grader.kernel.training.figures import read_figure
from grader.kernel.training.work import Meter
from grader.kernel.wrapping import wrap
from grader.kernel.writing import make_plain, record_error, to_plain, write_json, write_tensors
from grader.protocol import precision
from grader.protocol.checkpoint import load_base_tensors
from grader.protocol.events import emit, fingerprint
from grader.protocol.plan import Budget, Plan
from grader.protocol.records import DataSeen, Entry, Exit, LogEntry, Raised, RowKeys, Training

ARGUMENTS = (
    *("num_train_epochs", "learning_rate", "per_device_train_batch_size", "weight_decay", "max_steps"),
    "gradient_accumulation_steps",
)
LOG_KEYS = tuple(part.name for part in fields(LogEntry))
UNSEEN = Entry("", trainable=0, total=0)  # of a training that could not be looked at
MAX_LOG = 1_000
MAX_EVALUATIONS = 4  # of a training that is over: what the notebook then evaluates on is noted
MANY_ROWS = 100  # of unknown reviews: fewer are a look at some predictions
MAX_CHECKPOINTS = 4  # a quarter of a GiB each
MAX_TRAININGS = 24  # beyond this a notebook is searching, not comparing: train, but export nothing more


class Recorder:
    """One record per training. All are written after each change."""

    def __init__(self, plan: Plan) -> None:
        """Start with no training seen."""
        self.plan = plan
        self.base = load_base_tensors(plan.base_weights)
        self.records: list[Training] = []
        self._read: dict[int, tuple[Any, RowKeys | None]] = {}
        self._trained: list[tuple[Training, Callable[[], Any]]] = []  # records, and the encoders that they are about
        self._judged: dict[int, list[Any]] = {}  # by record: the data sets that its model was evaluated on by itself
        self._unknown: dict[int, int] = {}  # by record: rows that it was evaluated on and nobody knows
        self.depth = 0  # how many Trainer calls we are inside of
        self.meter = Meter()
        self.exports = Exports()

    def begin(self, model: nn.Module, via: str) -> Training:
        """Note a model at the start of its training."""
        entry, unrecorded = self.describe(model)
        device = observation.get_device_name()
        record = Training(len(self.records), via, False, entry, device=device, unrecorded=unrecorded)
        self.know(record, model)
        method = observation.guess_method(entry)
        emit("training_begin", index=record.index, method=method, sha256=fingerprint(to_plain(entry)))
        self.ask_gradients(record, model)
        self.write()
        return record

    def describe(self, model: nn.Module) -> tuple[Entry, Raised | None]:
        """Describe a model, or say why it cannot be read: torch refuses some that no training can take either."""
        try:
            return observation.describe_entry(model, self.base), None
        except Exception as error:
            if is_raised_by_us(error):
                raise
            return Entry(type(model).__name__, trainable=0, total=0), record_error(error)

    def ask_gradients(self, record: Training, model: nn.Module) -> None:
        """Put the gradient challenge to a model; one that cannot answer leaves no file and trains all the same."""
        unasked = record.entry.changed or record.unrecorded
        if self.plan.question is None or record.index >= MAX_TRAININGS or unasked:
            return
        self.depth += 1  # this pass is none of the notebook's
        try:
            with self.meter.pause():
                found = gradients.answer(model, self.base, self.plan.question)
            answers = {name: ask(make_plain, tensor) for name, tensor in found.items()}
            record.gradients = f"gradients-{record.index}.safetensors"
            write_tensors(self.plan.evidence, record.gradients, answers)
        except Exception as error:  # a student's model may take other inputs, and raise anything
            note_if_ours("the gradient challenge", error)
            record.gradients = None
        finally:
            self.depth -= 1

    def end(self, record: Training, model: nn.Module, seconds: float, steps: int) -> None:
        """Note the same model at the end: figures, and the weights by which it differs from the checkpoint."""
        record.finished, record.seconds, record.steps = True, seconds, steps
        with suppress_errors(record):
            record.work = self.meter.end(record.index, everything_read=observation.guess_method(record.entry) == "head")
        with suppress_errors(record):
            whole, parts = observation.hash_head(model), observation.hash_head_tensors(model)
            record.exit = Exit(head_sha256=whole, head=parts)
            if record.index < MAX_TRAININGS:
                tensors, notes = weights.export(model, self.base)
                name = self.exports.write(self.plan.evidence, record, tensors)
                record.exit = replace(notes, file=name, head_sha256=whole, head=parts)
        with suppress_errors(record):
            emit("training_end", index=record.index, sha256=fingerprint_record(record))
            self.write()

    def know(self, record: Training, model: nn.Module) -> None:
        """Keep a record, and which model it is about."""
        self.records.append(record)
        if (encoder := find_encoder(model)) is not None:
            self._trained.append((record, weakref.ref(encoder)))

    def note_evaluation(self, encoder: Any, dataset: Any, rows: int) -> None:
        """Note which reviews a model was evaluated on by code of the notebook's own.

        A model that no training is known of may be a copy of any that was trained.
        """
        own = [record for record, trained in self._trained if trained() is encoder][-1:]
        for record in own or [record for record, _ in self._trained]:
            self._note_evaluation_of(record, dataset if own else None, rows)

    def _note_evaluation_of(self, record: Training, dataset: Any, rows: int) -> None:
        judged = self._judged.setdefault(record.index, [])
        if len(judged) >= MAX_EVALUATIONS or any(known is dataset for known in judged):
            return
        seen = None if dataset is None else self.keys(dataset, record.data.train)
        self._unknown[record.index] = self._unknown.get(record.index, 0) + rows * (seen is None)
        if seen is not None or self._unknown[record.index] >= MANY_ROWS:
            judged.append(dataset)
            record.evaluations = (*record.evaluations, seen)
            self.write()

    def keys(self, dataset: Any, learned: RowKeys | None = None) -> RowKeys | None:
        """Return the keys of a data set's reviews; of several in a dict, those that share least with `learned`.

        Kept for what is stored in Arrow, which does not change: three trainings share their data.
        """
        if isinstance(dataset, dict):
            return review_keys.find_least_shared([self.keys(part) for part in dataset.values()], learned)
        if not isinstance(getattr(dataset, "column_names", None), list):
            return review_keys.compute_keys(dataset)
        if id(dataset) not in self._read:
            self._read[id(dataset)] = dataset, review_keys.compute_keys(dataset)  # kept, so that no other gets its id
        return self._read[id(dataset)][1]

    def write(self) -> None:
        """Write all records."""
        write_json(self.plan.evidence, "trainings.json", self.records)


def find_encoder(model: nn.Module) -> DistilBertModel | None:
    """Return the pretrained network in a model; None where there is none."""
    return next((module for module in modules.list_modules(model) if isinstance(module, DistilBertModel)), None)


def fingerprint_record(record: Training) -> str:
    """Compute the digest of a training that has ended. What the notebook evaluates on later is no part of it."""
    return fingerprint({key: value for key, value in to_plain(record).items() if key != "evaluations"})


@contextmanager
def suppress_errors(record: Training) -> Iterator[None]:
    """Print and note what goes wrong in the bookkeeping after a training: it is no error of the student's cell."""
    try:
        yield
    except Exception as error:  # a student's model may refuse to be asked, and a disk be full
        record.unrecorded = record_error(error)
        print(f"[grading] this training could not be recorded in full ({type(error).__name__})")


class Progress(TrainerCallback):
    """Counts the steps of a training, as its Trainer does."""

    def __init__(self) -> None:
        self.steps = 0

    @shield()
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count a step."""
        self.steps = state.global_step


def install(recorder: Recorder) -> None:
    """Wrap the Trainer."""
    wrap(Trainer, "__init__", functools.partial(_make, recorder))
    wrap(Trainer, "train", functools.partial(_train, recorder))
    wrap(Trainer, "evaluate", functools.partial(_evaluate, recorder, False))
    wrap(Trainer, "predict", functools.partial(_evaluate, recorder, True))


def _make(recorder: Recorder, original: Callable[..., None], trainer: Any, *args: Any, **kwargs: Any) -> None:
    """Under a budget, use the run's seed in place of the notebook's: a Trainer seeds everything when it is made.

    Data order, dropout and the heads of models loaded later all follow from it, so that seeds of a calibration differ.
    """
    arguments: Any = kwargs.get("args", args[1] if len(args) > 1 else None)
    if recorder.plan.budget is not None and hasattr(arguments, "seed"):
        arguments.seed = recorder.plan.seed
    original(trainer, *args, **kwargs)


def _train(recorder: Recorder, original: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
    record = _begin(recorder, trainer)
    began = time.perf_counter()
    recorder.depth += 1
    try:
        output = _train_as_planned(
            recorder.plan, trainer, record, functools.partial(original, trainer, *args, **kwargs)
        )
    except BaseException as error:
        record.error = record_error(error)
        recorder.meter.end(record.index)
        recorder.write()
        raise
    finally:
        recorder.depth -= 1
    _end(recorder, trainer, record, time.perf_counter() - began)
    return output


@shield(lambda recorder, trainer: Training(MAX_TRAININGS, "Trainer", finished=False, entry=UNSEEN))
def _begin(recorder: Recorder, trainer: Any) -> Training:
    """Note what a training begins with. Where that fails, its record is one that nobody sees."""
    record = recorder.begin(observation.unwrap(trainer.model), "Trainer")
    if record.index < MAX_TRAININGS:
        learned = recorder.keys(trainer.train_dataset)
        record.data = DataSeen(train=learned, eval=recorder.keys(trainer.eval_dataset, learned))
        record.batch = inputs.describe_batch(trainer)
    record.arguments = _select_figures(vars(trainer.args), ARGUMENTS)
    trainer._training_index = record.index
    recorder.meter.begin(record.index, lambda: observation.unwrap(trainer.model), lambda: trainer.state.max_steps)
    return record


@shield()
def _end(recorder: Recorder, trainer: Any, record: Training, seconds: float) -> None:
    """Note what it ends with."""
    if record.entry is UNSEEN:
        return
    with suppress_errors(record):
        lines = [line for line in trainer.state.log_history[:MAX_LOG] if isinstance(line, dict)]
        record.log = tuple(LogEntry(**_select_figures(line, LOG_KEYS)) for line in lines)
    recorder.end(record, observation.unwrap(trainer.model), seconds, trainer.state.global_step)


def _select_figures(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, float | None]:
    """Return those values that are numbers: a student's metric may return anything under any name."""
    found = {name: read_figure(values.get(name)) for name in names}
    return {name: figure for name, figure in found.items() if figure is not None}


def _train_as_planned(plan: Plan, trainer: Any, record: Training, train: Callable[[], Any]) -> Any:
    progress = Progress()
    trainer.add_callback(progress)
    try:
        if plan.budget is None:
            return _train_as_submitted(trainer, record, train)
        method = _guess_method(record)
        trainer._every_eval_row = trainer.eval_dataset
        with _apply_budget(trainer, plan.budget, method, plan.seed):
            output = _train_in_precision(plan.budget.bfloat16, trainer, record, progress, train)
        if record.index < MAX_CHECKPOINTS:
            with suppress_errors(record):
                _leave_checkpoint(trainer)
        return output
    finally:
        trainer.remove_callback(progress)


@contextmanager
def _apply_budget(trainer: Any, limits: Budget, method: str, seed: int) -> Iterator[None]:
    """Put a training under the budget; where that fails, at least under what keeps it from taking hours and memory."""
    with ExitStack() as held:
        try:
            held.enter_context(budget.apply(trainer, limits, method, seed))
            held.enter_context(use_fast_masks())
        except Exception as error:
            note("the budget", error)
            sizes = dict.fromkeys(("per_device_train_batch_size", "per_device_eval_batch_size"), limits.batch_size)
            values = {"max_steps": limits.max_steps, **sizes, **budget.disable_checkpoints(trainer.args)}
            held.enter_context(precision.replace_attributes(trainer.args, values))
            shorten = budget.ShorteningCollator(trainer.data_collator, limits.max_tokens)
            held.enter_context(precision.replace_attributes(trainer, {"data_collator": shorten}))
            with contextlib.suppress(Exception):  # it may be what fails
                held.enter_context(budget.limit_inputs(trainer, limits))
        yield


@shield(lambda record: "full")
def _guess_method(record: Training) -> str:
    return observation.guess_method(record.entry)


def _leave_checkpoint(trainer: Any) -> None:
    """Save one checkpoint, of the weights alone, if a notebook may load the best or the last epoch's.

    Not for every so many steps, which is the default and nobody's wish.
    """
    strategy, best = trainer.args.save_strategy, trainer.args.load_best_model_at_end
    if strategy in map(type(strategy), ("no", "steps")) and not best:
        return
    folder = str(Path(trainer.args.output_dir) / f"checkpoint-{trainer.state.global_step}")
    trainer.save_model(folder)
    if best or strategy == type(strategy)("best"):
        trainer.state.best_model_checkpoint = folder
    trainer.state.save_to_json(str(Path(folder) / "trainer_state.json"))


def _train_in_precision(
    bfloat16: bool, trainer: Any, record: Training, progress: Progress, train: Callable[[], Any]
) -> Any:
    """Train in the budget's precision; in float32 if the model cannot take the first step otherwise.

    Lower precision is the grader's choice, so what only fails because of it is no mistake of the student's.
    """
    if bfloat16:
        record.precision = "bfloat16 autocast"
        try:
            with precision.use_precision(bfloat16):
                return train()
        except Exception:  # whatever a student's code raises; a real mistake is raised again below
            if progress.steps:
                raise
            trainer.model.zero_grad(set_to_none=True)
    record.precision = "float32"
    with precision.use_precision(False):
        return train()


def _train_as_submitted(trainer: Any, record: Training, train: Callable[[], Any]) -> Any:
    """Train as the notebook says. Checkpoints are dropped unless the best one is to be loaded at the end."""
    record.precision = "float16" if trainer.args.fp16 else "bfloat16" if trainer.args.bf16 else "float32"
    keep = trainer.args.load_best_model_at_end
    values = {"save_only_model": True, "save_total_limit": 1} if keep else budget.disable_checkpoints(trainer.args)
    with precision.replace_attributes(trainer.args, values):
        return train()


def _evaluate(
    recorder: Recorder, whole: bool, original: Any, trainer: Any, dataset: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """Evaluate on few rows, or where `whole` or the student's metric asks for it on all, most of them cut short."""
    limits = recorder.plan.budget
    for name in ("eval_dataset", "test_dataset"):
        dataset = kwargs.pop(name, dataset)
    if recorder.depth == 0:
        _note_evaluation(recorder, trainer, dataset)

    def evaluate(rows: Any) -> Any:
        call = functools.partial(original, trainer, rows, *args, **kwargs)
        return call() if limits is None else _evaluate_in_precision(limits.bfloat16, call)

    recorder.depth += 1
    try:
        with recorder.meter.pause():
            if limits is None:
                return evaluate(dataset)
            return _evaluate_on_few(trainer, limits, evaluate, dataset, whole, outermost=recorder.depth == 1)
    finally:
        recorder.depth -= 1


@shield()
def _note_evaluation(recorder: Recorder, trainer: Any, dataset: Any) -> None:
    """Note which reviews the notebook itself has a trained model judged on."""
    index = getattr(trainer, "_training_index", None)
    if index is None:  # a model that a loop has trained, a copy, one that was saved and read again
        judged = trainer.eval_dataset if dataset is None else dataset
        recorder.note_evaluation(find_encoder(observation.unwrap(trainer.model)), judged, MANY_ROWS)
        return
    if index >= MAX_TRAININGS:
        return
    record = recorder.records[index]
    if len(record.evaluations) < MAX_EVALUATIONS:
        own = dataset is None or dataset is trainer.eval_dataset
        seen = record.data.eval if own else recorder.keys(dataset, record.data.train)
        record.evaluations = (*record.evaluations, seen)
        recorder.write()


def _evaluate_on_few(
    trainer: Any, limits: Budget, evaluate: Callable[[Any], Any], dataset: Any, whole: bool, outermost: bool
) -> Any:
    every = trainer.eval_dataset if outermost else getattr(trainer, "_every_eval_row", trainer.eval_dataset)
    if not whole:
        try:
            with budget.limit_inputs(trainer, limits) if outermost else nullcontext():
                return evaluate(budget.take_rows(dataset, limits.eval_rows))
        except Exception:  # a metric that compares with all labels; a real mistake is raised again below
            pass
    with budget.restore_inputs(trainer, every, limits):
        return evaluate(dataset)


def _evaluate_in_precision(bfloat16: bool, evaluate: Callable[[], Any]) -> Any:
    """Evaluate in the budget's precision, and in float32 if that fails: a metric may not know bfloat16."""
    try:
        with precision.use_precision(bfloat16):
            return evaluate()
    except Exception:  # whatever a student's metric raises; a real mistake is raised again below
        with precision.disable_autocast():
            return evaluate()
