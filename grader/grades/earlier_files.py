"""Changes that were made for another file than the one that counts now: they stay in force, and staff is told. Pure.

A change keeps the content of the file that it was made for. Only a person can say whether it fits what the student has
handed in since.
"""

from collections.abc import Iterable, Mapping, Sequence

from grader.grades.decisions import Rulings, describe_change
from grader.grades.grade import Grade, Standing
from grader.grades.overrides import Override
from grader.intake.uploads import Intake
from grader.text import sanitise


def list_contents(intake: Intake, key: str) -> tuple[str, ...]:
    """Return the SHA-256 of all files of a student and the group of the student, whatever became of them."""
    teams = [{member.key for member in group.members} for group in intake.groups]
    team = {key}.union(*(team for team in teams if key in team))
    files = [(upload.student, upload.sha256) for upload in (*intake.uploads, *intake.unreadable)]
    files += [(refusal.student, refusal.sha256) for refusal in intake.refusals if refusal.student]
    return tuple(sorted({sha256 for student, sha256 in files if sha256 and student.key in team}))


def list_counting(grade: Grade, intake: Intake) -> tuple[str, ...]:
    """Return the SHA-256 of the file that counts; of all that were refused where none counts."""
    return (grade.upload.sha256,) if grade.upload else list_contents(intake, grade.student.key)


def tell_of_earlier(rulings: Rulings, grades: Iterable[Grade]) -> tuple[Rulings, tuple[Grade, ...]]:
    """Find the changes that were made for an earlier file, and say so in the notes of the class and of the grades."""
    given = tuple(grades)
    found = _find_earlier(rulings, given)
    names = {grade.student.key: grade.student.name or grade.student.key for grade in given}
    pairs = [(names[key], pair) for key, changes in found.items() for pair in changes.items()]
    said = {_describe(*pair, sanitise(name)): name for name, pair in pairs}
    intake = rulings.intake.model_copy(update={"concerns": {**rulings.intake.concerns, **said}})
    told = rulings.model_copy(update={"intake": intake, "earlier": found, "notes": (*rulings.notes, *said)})
    return told, tuple(_note(grade, found.get(grade.student.key, {})) for grade in given)


def _find_earlier(rulings: Rulings, grades: Iterable[Grade]) -> dict[str, dict[str, Override]]:
    """Find the changes that were made for an earlier file, by the key of the student and the id of the decision."""
    mine: dict[str, dict[str, Override]] = {}
    for decision, change in rulings.changes.items():
        mine.setdefault(change.student, {})[decision] = change
    found = {}
    for grade in grades:
        if changes := mine.get(grade.student.key):
            now = list_counting(grade, rulings.intake)
            found[grade.student.key] = {d: change for d, change in changes.items() if _is_earlier(change, now)}
    return {key: changes for key, changes in found.items() if changes}


def _is_earlier(change: Override, now: Sequence[str]) -> bool:
    """Return True if nothing that counts now was there. Changes of older versions do not say what was."""
    return change.made_for is not None and bool(now) and set(change.made_for).isdisjoint(now)


def _describe(decision: str, change: Override, name: str) -> str:
    when = f"for an earlier file of {name}" if change.made_for else f"before {name} handed in"
    return (
        f"Decision {decision} was made {when}, and holds for the file that counts now: {describe_change(change)}. "
        "Look at the file; decide again, or take the decision away."
    )


def _note(grade: Grade, changes: Mapping[str, Override]) -> Grade:
    """Say it in the note of a grade; not where all was refused, because the student reads that note."""
    if not changes or grade.standing is Standing.REFUSED:
        return grade
    said = "; ".join(f"{name} ({describe_change(change)})" for name, change in changes.items())
    return grade.model_copy(update={"note": f"{grade.note} Made for an earlier file, and in force: {said}.".strip()})
