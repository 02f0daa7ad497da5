"""`python -m grader validate`: runs the corpus, says what came of it, writes the pages."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from grader import pipeline
from grader.authoring.calibrate import PATIENT
from grader.errors import GraderError
from grader.judging import scoring
from grader.model import Profile
from grader.paths import CORPUS, REFERENCE, RUBRIC
from grader.sandbox import Backend
from tests.proof.validity import figures, markdown, page, rounds, training
from tests.proof.validity.corpus import Base, CorpusCase, read_base, read_corpus
from tests.proof.validity.figures import Matrix
from tests.proof.validity.repetition import Repetition, repeat
from tests.proof.validity.training import Rate
from tests.proof.validity.verdicts import examine
from tests.proof.validity.whole_notebooks import read_habits

REFERENCE_SEEDS: Final = 200
VARIANT_SEEDS: Final = 50
REPEATED_VARIANTS: Final = ("lora_parameters", "lora_merged_weight", "lora_divided_last", "lora_einsum")


def load() -> tuple[Base, tuple[CorpusCase, ...]]:
    """The reference as a base, and all specimens."""
    base = read_base(REFERENCE)
    return base, read_corpus(CORPUS, base)


def validate(
    console: Console, docs: Path, only: Sequence[str] = (), train: bool = False, repeat_rounds: int = 0
) -> bool:
    """Run the corpus and write `docs`/validity.md and validity.html. Returns whether all is as it should be.

    `train`: run what is missing of the training part, too; what is stored of it is shown in any case. `repeat_rounds`:
    up to so many repetitions of the corpus, likewise. With `only`, nothing is written: those specimens are examined, or
    with `train` their trainings are run.
    """
    began = time.perf_counter()
    base, corpus = load()
    named = [s for s in corpus if not only or s.id.startswith(tuple(only))]
    if not named:
        raise GraderError(f"The corpus has no specimen whose name begins with {' or '.join(only)}; see tests/corpus.")
    if only and train:
        measure_rates(console, base, named, train=True)
        return True
    chosen = [s for s in named if not s.training]
    if not chosen:
        raise GraderError(f"{' and '.join(s.id for s in named)} shows in accuracy alone; add --training.")
    matrix, where = run(console, base, chosen)
    repetitions = () if only else repeat_lora(base, corpus)
    report(console, matrix, repetitions, time.perf_counter() - began)
    if only:
        return not matrix.surprising
    again = [
        rounds.make_round(matrix, pipeline.DEFAULT_SEED, where),
        *replay(console, base, chosen, where, repeat_rounds),
    ]
    flips = rounds.find_flips(again, matrix.checks)
    console.print(f"{len(flips)} flips in {len(again) - 1} repetitions of the whole corpus with other seeds")
    for flip in flips:
        console.print(flip, markup=False)
    rates = measure_rates(console, base, corpus, train)
    write(docs, matrix, repetitions, len(again) - 1, flips, rates)
    return matrix.holds and not flips and not any(r.flips for r in repetitions)


def write(
    docs: Path,
    matrix: Matrix,
    repetitions: Sequence[Repetition],
    repeats: int,
    flips: Sequence[str],
    rates: Sequence[Rate],
) -> None:
    """Write both pages."""
    notebooks = read_habits(CORPUS / "habits")
    sections = [
        markdown.render_repetitions(repetitions),
        markdown.render_rounds(repeats, flips),
        markdown.render_chances(rates),
    ]
    further = [
        *((f"Flips of LoRA checks on {r.specimen} with {r.seeds} other seeds", str(r.flips)) for r in repetitions),
        (f"Flips in {repeats} repetitions of everything", str(len(flips))),
    ]
    docs.mkdir(parents=True, exist_ok=True)
    text = f"{markdown.render_document(matrix, sections)}\n{markdown.render_notebooks(notebooks)}"
    (docs / "validity.md").write_text(text, encoding="utf-8")
    (docs / "validity.html").write_text(page.render_page(matrix, further, notebooks), encoding="utf-8")


def replay(
    console: Console, base: Base, chosen: Sequence[CorpusCase], where: str, count: int
) -> tuple[rounds.Round, ...]:
    """Repetitions of the whole corpus: the stored ones, and new ones up to `count`."""
    done = {found.seed for found in rounds.load_known(where)}
    for seed in range(1, count + 1):
        if seed not in done:
            console.print(f"repetition with seed {seed}")
            matrix, circumstances = run(console, base, chosen, seed)
            rounds.keep(rounds.make_round(matrix, seed, circumstances))
    return rounds.load_known(where)


def measure_rates(console: Console, base: Base, corpus: Sequence[CorpusCase], train: bool) -> tuple[Rate, ...]:
    """Measured chances of wrong verdicts on accuracy, from stored runs, and from new ones if asked for."""
    with pipeline.open_setup(Profile.QUICK, training.FIRST_SEED, limits=PATIENT) as used:
        calibrated = training.find_calibration(used)
        later = training.find_later_runs(used, calibrated)
        planned = tuple(training.plan(corpus, calibrated, later))
        found = training.measure(planned, base, used, console) if train else training.load_known(planned, base, used)
    rates = training.compute_rates((*later, *found), corpus, calibrated)
    for rate in (rate for rate in rates if train and rate.runs):
        console.print(f"{rate.what}: {rate.happened} of {rate.runs}", markup=False)
    return rates


def run(
    console: Console, base: Base, chosen: Sequence[CorpusCase], seed: int = pipeline.DEFAULT_SEED
) -> tuple[Matrix, str]:
    """Examine the chosen specimens, with a line for each that surprises. Also returns the circumstances."""
    findings = []
    with (
        pipeline.open_setup(Profile.STRUCTURE, seed, Backend.NONE) as used,  # the corpus is our own
        console.status("growing") as status,
    ):
        where = rounds.digest_conditions(used)
        for finding in examine(base, chosen, used):
            findings.append(finding)
            status.update(f"{len(findings)} of {len(chosen)}: {finding.specimen.id}")
            for surprise in finding.surprises:
                console.print(f"{finding.specimen.id}: {surprise}", markup=False)
    checks = scoring.load_rubric(RUBRIC)
    return figures.build_matrix(checks, findings, chosen), where


def repeat_lora(base: Base, corpus: Sequence[CorpusCase]) -> tuple[Repetition, ...]:
    """The LoRA family on the reference and on some variants, with many other seeds."""
    by_id = {specimen.id: specimen for specimen in corpus}
    planned = {"reference": REFERENCE_SEEDS, **dict.fromkeys(REPEATED_VARIANTS, VARIANT_SEEDS)}
    return tuple(repeat(base, by_id[name], range(1, seeds + 1)) for name, seeds in planned.items())


def report(console: Console, matrix: Matrix, repetitions: Sequence[Repetition], seconds: float) -> None:
    """Print the matrix and the figures."""
    width = max(len(f.specimen.id) for f in matrix.findings)
    for index, check in enumerate(matrix.checks):
        console.print(f"{'':{width}} {'│' * index}{'┌' if index < len(matrix.checks) else ''} {check}", markup=False)
    for finding in matrix.mutants:
        row = "".join(figures.get_letter(finding, check) for check in matrix.checks)
        console.print(f"{finding.specimen.id:{width}} {row}", markup=False, highlight=False)
    for name, figure in matrix.summary():
        console.print(f"{name}: {figure}", markup=False)
    for found in repetitions:
        console.print(f"{found.specimen}: {found.flips} flips in {found.seeds} seeds of the LoRA checks", markup=False)
    console.print(f"{seconds:.0f} s")
