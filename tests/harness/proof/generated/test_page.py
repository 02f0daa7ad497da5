"""The page from findings that are made up."""

from tests.proof.generated.bench import Finding
from tests.proof.generated.generator import generate
from tests.proof.generated.mutation import list_mutants
from tests.proof.generated.page import render
from tests.proof.generated.proof import Outcome

PROGRAMS = {program.id: program for program in map(generate, range(30))}
MUTANTS = {mutant.program.id: mutant for mutant in list_mutants(PROGRAMS["g0"], PROGRAMS["g0"].cells)}
FAILED = {"step3.lora_forward": "failed: Expected the update to be scaled."}


def make_outcome(failed: dict[str, dict[str, str]], unkilled: int) -> Outcome:
    """An outcome in which some programs fail, and so many mutants are not killed."""
    findings = {name: Finding(id=name, failed=failed.get(name, {})) for name in PROGRAMS}
    mutants = {
        name: Finding(id=name, failed={} if number < unkilled else FAILED, evidence={"layer": "other"})
        for number, name in enumerate(MUTANTS)
    }
    return Outcome("2026-01-01", "abc", PROGRAMS, findings, MUTANTS, mutants, {"g0": "", "g1": ""})


def test_bounds_are_said_and_not_the_zero_alone() -> None:
    page = render(make_outcome({}, 0))
    assert "0 of 30: a rate below 9.50% (95 % confidence)" in page
    assert "0 of 2: a rate below 77.64% (95 % confidence)" in page
    assert "30, of which 30 differ" in page


def test_false_fails_and_survivors_are_named_on_one_page() -> None:
    outcome = make_outcome({"g3": FAILED, "g4": FAILED}, 40)
    page = render(outcome)
    assert not outcome.holds
    assert "g3: step3.lora_forward failed: Expected the update to be scaled." in page
    assert outcome.survivors[0] in page
    assert len(page.splitlines()) <= 80
