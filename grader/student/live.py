"""Judges what is defined in this kernel: the probes of grading on live objects, and the last training of each step."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nbformat.v4 import new_code_cell, new_notebook

from grader import __version__, assignment, challenges
from grader.challenges import Challenges
from grader.evidence.reader import Evidence
from grader.execution.record import ProbeOutcome, RunConditions, RunRecord
from grader.judging.case import Case, Oracle
from grader.judging.runner import Judgement, run_suite
from grader.kernel import probes
from grader.kernel.namespace import Bindings
from grader.kernel.training.observation import describe_form
from grader.model import Method, Profile, RunStatus, RunSummary, SubmissionRef
from grader.paths import PUBLIC_TESTS
from grader.protocol.records import Answers, Entry, Training
from grader.student.guards import TimeLimit, compute_on_cpu, keep_quiet, limit_time
from grader.student.looks import find_attribute, find_models
from grader.student.network import load_shapes
from grader.student.noted import STEPS, Noted
from grader.student.numbers import digest_encoder
from grader.student.origins import Origin, collect_definitions, find_origin
from grader.student.placing import read_name

FAMILIES: Final = ("count", "extract", "replace", "lora")
LIMIT_S: Final = 10  # for all calls of one function; they take well below a second
METHODS: Final = dict(zip(STEPS, Method, strict=True))
Observed = dict[str, probes.Observed | None]
UNASKED: Final[probes.Observed] = (Answers(), {})


@dataclass(frozen=True)
class Questions:
    """What is drawn for one check, and the seed that it is drawn from."""

    seed: int
    drawn: Challenges


def draw() -> Questions:
    """Draw new questions."""
    seed = int(time.time()) % 2**31
    return Questions(seed, challenges.draw(seed))


def ask(
    namespace: dict[str, Any], sources: Sequence[str], families: Collection[str], questions: Questions
) -> tuple[Observed, dict[str, Origin]]:
    """Put the questions to the notebook's functions: None for one that does not end within the limit.

    With it, the files that definitions come from which no cell holds. What grading does not see is not asked.
    """
    bindings = Bindings(assignment.LOOKED_FOR)
    requests = questions.drawn.build_requests("")
    given = {name: tensor.clone() for name, tensor in questions.drawn.lora_tensors.items()}  # `x` may be written to
    requests["lora"] = {"tensors": given, "challenges": requests["lora"]["challenges"]}
    found, origins = Observed(), dict[str, Origin]()
    with keep_quiet(), compute_on_cpu(namespace):
        bindings.note(namespace, collect_definitions(sources))
        for family in families:
            if (origin := find_origin(family, bindings, namespace, sources)) is not None:
                origins[family] = origin
            if origin is not None and not origin.judged:
                found[family] = UNASKED
                continue
            try:
                with limit_time(LIMIT_S):
                    found[family] = probes.observe(family, requests[family], bindings, namespace)
            except (TimeLimit, SystemExit, GeneratorExit):
                found[family] = None
    return found, origins


class LiveEvidence(Evidence):
    """Evidence that never was in a file: the answers of live objects."""

    def __init__(self, record: RunRecord, observed: Observed, trainings: tuple[Training, ...], code: Sequence[str]):
        """Hold what `Evidence` reads."""
        self.folder, self.violations, self.run = Path(), [], record
        answers = {family: seen[0] if (seen := observed.get(family, UNASKED)) else None for family in FAMILIES}
        lora = observed.get("lora")
        tensors = {name: tensor.detach().cpu() for name, tensor in (lora[1] if lora else {}).items()}
        notebook = new_notebook(cells=[new_code_cell(source) for source in code])
        vars(self).update(answers, trainings=trainings, lora_tensors=tensors, submitted=notebook)


class LiveCase(Case):
    """A case in which the last training of each step is judged, the wrong ones too."""

    in_file = False

    def __init__(self, evidence: Evidence, placed: Mapping[Method, Training]) -> None:
        """Nothing is compared with weights, so none are needed."""
        super().__init__(evidence, Oracle(Path(), _refuse, _refuse, lambda evidence: None))
        vars(self).update(placed=placed, base=load_shapes())


def _refuse(*_: object) -> Any:
    raise NotImplementedError("no check of a running notebook measures accuracy or recognises reviews")


def judge(
    observed: Observed, trainings: Sequence[Noted], code: Sequence[str], questions: Questions, ids: frozenset[str]
) -> dict[str, Judgement]:
    """Return the judgements of these checks, and of what they wait for, by id."""
    records = tuple(_build_training(index, noted) for index, noted in enumerate(trainings))
    cells = {index: noted.cell - 1 for index, noted in enumerate(trainings) if noted.cell}
    placed = {METHODS[noted.step]: record for noted, record in zip(trainings, records, strict=True)}
    record = _build_record(questions.seed, observed, cells)
    case = LiveCase(LiveEvidence(record, observed, records, code), placed)
    return {judgement.id: judgement for judgement in run_suite(case, [PUBLIC_TESTS], ids)}


def _build_training(index: int, noted: Noted) -> Training:
    return Training(index, via=noted.via, finished=noted.finished, entry=noted.entry)


def _build_record(seed: int, observed: Observed, cells: dict[int, int]) -> RunRecord:
    ended = {family: ProbeOutcome.ANSWERED if seen else ProbeOutcome.TIMEOUT for family, seen in observed.items()}
    conditions = RunConditions(
        profile=Profile.STRUCTURE,
        seed=seed,
        checkpoint="",
        checkpoint_sha256="",
        reviews="",
        reviews_sha256="",
        synthetic=False,
        precision="float32",
        budget="",
        sandbox="",
        grader=__version__,
    )
    return RunRecord(
        submission=SubmissionRef(name="this notebook", sha256=""),
        conditions=conditions,
        summary=RunSummary(status=RunStatus.OK, wall_s=0, peak_memory_mib=0),
        reason="",
        cells=(),
        training_cells=cells,
        probes=ended,
        timings={},
    )


def prepare(step: str, namespace: Mapping[str, Any], used: Any = None) -> tuple[str, Noted] | None:
    """Return the name of the model that a step would train now, and that training as if it began; None without one.

    Step 2 trains a model of which something is frozen, step 3 one with wrapped layers. One that is named after this
    step is meant before the one that its last training `used`, and that before others; none that is named after another
    step where there is one that is named after this one. A frozen model may be for many things: it is not meant for
    step 2 where another is named after that.
    """
    found, models = list[tuple[int, str, Noted]](), find_models(namespace)
    named = any(read_name(name) == step for name, _ in models)
    for name, model in models:
        rank = _rank(step, read_name(name), model is used)
        if named and rank < (2 if step == "step2" else 1):
            continue
        entry = describe_form(model, load_shapes())
        if bool(entry.wrapped) if step == "step3" else not entry.wrapped and _is_meant_frozen(model, entry):
            found.append((rank, name, Noted(step, entry, time.time(), encoder=digest_encoder(model))))
    best = max((rank for rank, *_ in found), default=0)
    return next(((name, noted) for rank, name, noted in reversed(found) if rank == best), None)


def _rank(step: str, named: str | None, used: bool) -> int:
    """Return how much speaks for a model being meant for a step."""
    return 3 if named == step else 2 if used else 0 if named else 1


def _is_meant_frozen(model: Any, entry: Entry) -> bool:
    return entry.trainable < entry.total or find_attribute(model) is not None
