"""Finds out all that a report on some exercises is made of."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from grader.judging.runner import Judgement
from grader.kernel.training.observation import describe_form
from grader.reporting.in_notebook import Mark, Row
from grader.student import cells, journal, live, notebook_file
from grader.student.exercises import Exercise
from grader.student.guards import TimeLimit, attempt, describe_stopped_gpu, keep_quiet, limit_time
from grader.student.live import Questions
from grader.student.looks import find_models
from grader.student.network import load_shapes
from grader.student.noted import Noted
from grader.student.report import Findings
from grader.student.snapshot import keep_objects
from grader.student.watch import Watch

TRAINS: Final = re.compile(r"\b(?:train|fit)\w*\(|\.step\(")


def find_out(exercises: Sequence[Exercise], namespace: dict[str, Any], watch: Watch) -> Findings:
    """Ask the notebook's functions, look at its objects, and judge the last training of each step."""
    sources, questions = cells.list_sources(), live.draw()
    families = [exercise.defines for exercise in exercises if exercise.defines]
    ids = frozenset(name for exercise in exercises for name in exercise.checks)
    with keep_objects(namespace) as changed:
        observed, origins = live.ask(namespace, sources, families, questions)
        seen = {exercise.number: tuple(_look(exercise, namespace)) for exercise in exercises}
    watch.attempt(watch.end_threads)
    here = {noted.step for noted in watch.trainings}
    earlier = [noted for noted in journal.recall(notebook_file.get_key()) if noted.step not in here]
    kept = [replace(noted, saved=folder) for noted in earlier if (folder := journal.find_weights(noted))]
    trainings = [*kept, *watch.trainings]
    judgements = live.judge(observed, trainings, sources, questions, ids) if ids else {}
    last = {noted.step: noted for noted in trainings}
    unread = _list_unread(namespace) if any(exercise.prepares for exercise in exercises) else {}
    readable = {name: value for name, value in namespace.items() if name not in unread}
    prepared = {}
    for exercise in exercises:
        if exercise.prepares and (found := _find_prepared(exercise, readable, last.get(exercise.step))):
            name, noted = found
            prepared[exercise.step] = name, noted, _judge_prepared(exercise, noted, sources, questions)
    return Findings(
        judgements,
        observed,
        last,
        namespace,
        watch.unseen,
        prepared,
        seen,
        {noted.step: noted for noted in earlier},
        (*earlier, *watch.trainings),
        changed,
        origins,
        unread,
        find_unwatched(watch.began, sources),
    )


def find_unwatched(began: int | None, sources: Sequence[str]) -> int | None:
    """Return the number of the cell with which watching began, where one before it seems to train."""
    return began if began and any(map(TRAINS.search, sources[: began - 1])) else None


def _list_unread(namespace: dict[str, Any]) -> dict[str, str]:
    """Return the models that cannot be read, with what is to be said of each."""
    unread = {}
    for name, model in find_models(namespace):
        try:
            describe_form(model, load_shapes())
        except Exception as error:  # the memory of a GPU that has stopped, or a layer that raises anything
            unread[name] = describe_stopped_gpu(error) or f"Reading it raises `{type(error).__name__}`."
    return unread


def _find_prepared(exercise: Exercise, namespace: dict[str, Any], last: Noted | None) -> tuple[str, Noted] | None:
    """Find the model that a step would train, and that training as if it began; `last`: the last one of the step."""
    return attempt(live.prepare, exercise.step, namespace, last and last.model and last.model())


def _judge_prepared(exercise: Exercise, noted: Noted, sources: Sequence[str], questions: Questions) -> Judgement:
    """Judge a model as if it were trained now."""
    name = exercise.checks[0]
    return live.judge({}, [noted], sources, questions, frozenset({name}))[name]


def _look(exercise: Exercise, namespace: dict[str, Any]) -> list[Row]:
    """Return what an exercise's looks see; what they cannot see is no fault of the notebook's."""
    rows: list[Row] = []
    for look in exercise.looks:
        try:
            with keep_quiet(), limit_time(live.LIMIT_S):
                rows += look(namespace)
        except (TimeLimit, SystemExit, GeneratorExit):
            rows.append(Row(Mark.FAILED, "A function of this exercise does not finish"))
        except Exception as error:  # a notebook's objects may raise anything when they are looked at
            said = f"This could not be looked at ({type(error).__name__})."
            rows.append(Row(Mark.ERROR, said, describe_stopped_gpu(error)))
    return rows
