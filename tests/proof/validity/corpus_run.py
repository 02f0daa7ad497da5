"""`make validate`: runs the corpus, says what came of it, writes docs/validity.md from what is stored."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from grader import pipeline
from grader.authoring.calibrate import PATIENT
from grader.errors import GraderError
from grader.execution.job import Setup
from grader.execution.setup import UNSANDBOXED, SandboxOptions
from grader.judging import scoring
from grader.model import Profile
from grader.paths import CORPUS, REFERENCE, RUBRIC
from tests.proof.validity import markdown, rounds, training
from tests.proof.validity.corpus import Base, CorpusCase, read_base, read_corpus
from tests.proof.validity.figures import Matrix, build_row
from tests.proof.validity.ledger import append
from tests.proof.validity.repetition import repeat
from tests.proof.validity.rounds import RESULTS
from tests.proof.validity.training import Rate
from tests.proof.validity.verdicts import CaseResult, examine
from tests.proof.validity.whole_notebooks import NOTHING_SHARED, read_habits

# Seeds of the LoRA family, on the reference and on each of some variants: with repetitions, and for a first look.
THOROUGH_SEEDS: Final = (200, 50)
FEW_SEEDS: Final = (30, 10)
REPEATED_VARIANTS: Final = ("lora_parameters", "lora_merged_weight", "lora_divided_last", "lora_einsum")
CASES: Final = RESULTS / "cases.md"


def load() -> tuple[Base, tuple[CorpusCase, ...]]:
    """The reference as a base, and all patches of it."""
    base = read_base(REFERENCE)
    return base, read_corpus(CORPUS, base)


def load_notebooks() -> tuple[CorpusCase, ...]:
    """The whole notebooks."""
    return read_habits(CORPUS / "habits")


def validate(console: Console, docs: Path, train: bool = False, repeat_rounds: int = 0) -> bool:
    """Run the corpus and write `docs`/validity.md. Returns whether all is as it should be.

    `train`: run what is missing of the training part, too; what is stored of it is shown in any case. `repeat_rounds`:
    up to so many repetitions of the corpus, likewise.
    """
    base, corpus = load()
    chosen = [case for case in corpus if not case.training]
    run_first_round(console, base, chosen, THOROUGH_SEEDS if repeat_rounds else FEW_SEEDS)
    replay(console, base, chosen, repeat_rounds)
    if train:
        run_trainings(console, base, corpus)
    return publish(console, docs)


def validate_named(console: Console, only: Sequence[str], train: bool = False) -> bool:
    """Examine the cases whose names begin so, or with `train` run their trainings. Writes nothing."""
    base, corpus = load()
    named = [case for case in (*corpus, *load_notebooks()) if case.id.startswith(tuple(only))]
    if not named:
        raise GraderError(f"The corpus has no case whose name begins with {' or '.join(only)}; see tests/corpus.")
    if train:
        return run_trainings(console, base, [case for case in named if case in corpus])
    shown = [case for case in named if not case.training]
    if not shown:
        raise GraderError(f"{' and '.join(case.id for case in named)} shows in accuracy alone; add TRAINING=1.")
    whole = [case for case in shown if case not in corpus]
    matrix, results, _ = run(console, base, [case for case in shown if case in corpus], whole)
    console.print(markdown.render_cases(matrix, results), markup=False, highlight=False, soft_wrap=True)
    return not matrix.surprising


def publish(console: Console, docs: Path) -> bool:
    """Write the page from what is stored, and print its figures. Returns whether all is as it should be."""
    base, corpus = load()
    checks = tuple(scoring.load_rubric(RUBRIC))
    with pipeline.open_setup(Profile.QUICK, training.FIRST_SEED, SandboxOptions(limits=PATIENT)) as used:
        known = rounds.load_known(rounds.digest_conditions(used))
        rates, reviews = find_rates(base, corpus, used), used.reviews.name
    matrix = rounds.rebuild_matrix(known[0], checks, corpus, load_notebooks()) if known else None
    flips = rounds.find_flips(known, checks)
    docs.mkdir(parents=True, exist_ok=True)
    text = markdown.render_page(matrix, known, flips, rates, reviews)
    (docs / "validity.md").write_text(text, encoding="utf-8")
    for name, figure in matrix.summarise() if matrix else ():
        console.print(f"{name}: {figure}", markup=False)
    for line in (f"{len(flips)} flips in {len(known[1:])} repetitions with other seeds", *flips):
        console.print(line, markup=False)
    return matrix is not None and matrix.holds and not flips and not any(lost for _, lost in known[0].lora.values())


def run_first_round(console: Console, base: Base, chosen: Sequence[CorpusCase], seeds: tuple[int, int]) -> None:
    """Run everything with the usual seed; keep the round, and write down what students read."""
    began = time.perf_counter()
    matrix, results, where = run(console, base, chosen, load_notebooks())
    one = rounds.make_round(matrix, pipeline.DEFAULT_SEED, where)
    measured = datetime.now(UTC).date().isoformat()
    kept = one.model_copy(update={"lora": repeat_lora(console, base, chosen, seeds), "measured": measured})
    append(rounds.LEDGER, kept)
    CASES.write_text(markdown.render_cases(matrix, results), encoding="utf-8")
    console.print(
        f"{len(results)} cases in {time.perf_counter() - began:.0f} s; every one is in {CASES}", soft_wrap=True
    )


def replay(console: Console, base: Base, chosen: Sequence[CorpusCase], count: int) -> None:
    """Run repetitions of the corpus with other seeds, up to `count`, that are not stored yet."""
    for seed in range(1, count + 1):
        with pipeline.open_setup(Profile.STRUCTURE, seed, UNSANDBOXED) as used:
            done = {found.seed for found in rounds.load_known(rounds.digest_conditions(used))}
        if seed not in done:
            console.print(f"repetition with seed {seed}")
            matrix, _, where = run(console, base, chosen, seed=seed)
            append(rounds.LEDGER, rounds.make_round(matrix, seed, where))


def run_trainings(console: Console, base: Base, corpus: Sequence[CorpusCase]) -> bool:
    """Run what is missing of the training part, for hours, and print the chances that it amounts to."""
    with pipeline.open_setup(Profile.QUICK, training.FIRST_SEED, SandboxOptions(limits=PATIENT)) as used:
        training.measure(plan_trainings(corpus, used), base, used, console)
        rates = find_rates(base, corpus, used)
    for rate in (rate for rate in rates if rate.runs):
        console.print(f"{rate.what}: {rate.happened} of {rate.runs}", markup=False)
    return True


def plan_trainings(corpus: Sequence[CorpusCase], used: Setup) -> tuple[tuple[CorpusCase, int], ...]:
    """The trainings of these cases, stored or not."""
    calibrated = training.find_calibration(used)
    return tuple(training.plan(corpus, calibrated, training.find_later_runs(used, calibrated)))


def find_rates(base: Base, corpus: Sequence[CorpusCase], used: Setup) -> tuple[Rate, ...]:
    """Chances of wrong verdicts on accuracy, from stored trainings."""
    calibrated = training.find_calibration(used)
    stored = training.load_known(plan_trainings(corpus, used), base, used)
    return training.compute_rates((*training.find_later_runs(used, calibrated), *stored), corpus, calibrated)


def run(
    console: Console,
    base: Base,
    chosen: Sequence[CorpusCase],
    notebooks: Sequence[CorpusCase] = (),
    seed: int = pipeline.DEFAULT_SEED,
) -> tuple[Matrix, tuple[CaseResult, ...], str]:
    """Examine the chosen cases, with a line for each surprise. Also returns the conditions."""
    results: dict[str, CaseResult] = {}
    with (
        pipeline.open_setup(Profile.STRUCTURE, seed, UNSANDBOXED) as used,  # the corpus is our own
        console.status("growing") as status,
    ):
        where = rounds.digest_conditions(used)
        for shared, cases in ((base, chosen), (NOTHING_SHARED, notebooks)):
            for result in examine(shared, cases, used) if cases else ():
                results[result.case.id] = result
                status.update(f"{len(results)} of {len(chosen) + len(notebooks)}: {result.case.id}")
                for surprise in result.surprises:
                    console.print(f"{result.case.id}: {surprise}", markup=False, soft_wrap=True)
    checks = tuple(scoring.load_rubric(RUBRIC))
    rows, whole = (tuple(build_row(results[case.id], checks) for case in cases) for cases in (chosen, notebooks))
    return Matrix(checks, rows, whole), tuple(results.values()), where


def repeat_lora(
    console: Console, base: Base, corpus: Sequence[CorpusCase], seeds: tuple[int, int]
) -> dict[str, tuple[int, int]]:
    """The LoRA family on the reference and on some variants, with so many other seeds: by layer seeds, and flips."""
    by_id = {case.id: case for case in corpus}
    planned = {"reference": seeds[0], **dict.fromkeys(REPEATED_VARIANTS, seeds[1])}
    found = {name: repeat(base, by_id[name], range(1, seeds + 1)) for name, seeds in planned.items()}
    for line in (f"{name}, {failure}" for name, failures in found.items() for failure in failures):
        console.print(line, markup=False, soft_wrap=True)
    return {name: (planned[name], len(failures)) for name, failures in found.items()}
