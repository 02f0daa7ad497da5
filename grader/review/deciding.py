"""What a person submits on the page becomes a decision, or a sentence on what is missing."""

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from grader.batch.decisions import append_decision, withdraw
from grader.errors import GraderError
from grader.grades.decisions import Appeal, Comment, Decision, Matter, Origin, Reviewed
from grader.grades.earlier_files import list_counting
from grader.grades.overrides import Override, OverrideKind
from grader.review.classroom import ClassView, Dossier, list_about
from grader.text import sanitise

WORDS_MAX: Final = 5_000  # characters


class Act(StrEnum):
    """What a button does."""

    POINTS = "points"  # of a check
    MANUAL = "manual"  # points of an item that a person marks
    TOTAL = "total"
    EXCUSE = "excuse"
    COMMENT = "comment"
    REVIEW = "review"
    CONTEST = "contest"
    ANSWER = "answer"
    TAKE_AWAY = "take-away"


CHANGES: Final[Mapping[Act, OverrideKind]] = {
    Act.POINTS: OverrideKind.CHECK,
    Act.MANUAL: OverrideKind.MANUAL,
    Act.TOTAL: OverrideKind.TOTAL,
    Act.EXCUSE: OverrideKind.EXCUSED,
}
MISSING: Final[Mapping[Act, str]] = {
    Act.COMMENT: "Write what the student is to read.",
    Act.CONTEST: "Write what the student claims.",
    Act.ANSWER: "Write the answer to the appeal.",
}
NO_REASON: Final = "Write the reason: it stands in the record, and the student reads it."


class NotSaved(Exception):
    """Nothing was saved; the message says why, and what to do."""


class Outdated(NotSaved):
    """Somebody else decided about the same student since the page was opened."""


class NewFile(Outdated):
    """Another file of the student counts since the page was opened."""

    def __init__(self) -> None:
        super().__init__(
            "Another file of this student counts since you opened the page. It is shown now. Nothing of yours is saved "
            "yet: look, then save again."
        )


@dataclass(frozen=True)
class Draft:
    """What a person has typed, `about` a check.

    `seen` is the last decision about the student that the page knew, `sha256` the content of the file that counted.
    """

    act: Act
    about: str = ""
    points: str = ""
    words: str = ""
    seen: str = ""
    sha256: str = ""
    problem: str = ""  # why it was not saved

    @classmethod
    def read(cls, form: Mapping[str, str]) -> "Draft":
        """Read a form. Raises NotSaved for one that no page of ours sends."""
        if form.get("act", "") not in list(Act):
            raise NotSaved("The page did not say what to save; open it again.")
        names = ("about", "points", "words", "seen", "sha256")
        # A browser sends two characters for the end of a line, and has counted one.
        texts = {name: form.get(name, "").replace("\r\n", "\n").strip() for name in names}
        return cls(Act(form["act"]), **texts)


def save(folder: Path, view: ClassView, dossier: Dossier, draft: Draft, author: str) -> None:
    """Record what a person decided about a student. Raises NotSaved."""
    if len(draft.words) > WORDS_MAX:
        raise NotSaved(f"The text has {len(draft.words):,} characters; at most {WORDS_MAX:,} are kept. Shorten it.")
    try:
        if draft.act is Act.TAKE_AWAY:
            if draft.about not in {decision.id for decision in dossier.held}:
                raise Outdated("This decision does not hold any more.")
            if not draft.words:
                raise NotSaved("Write why it is taken away: it stands in the record.")
            withdraw(folder, [draft.about], author, draft.words, Origin.REVIEW)
            return
        if draft.sha256 != dossier.sha256:
            raise NewFile
        matter = build_matter(view, dossier, draft, author)
        append_decision(folder, matter, Origin.REVIEW, lambda decisions: require_seen(decisions, dossier, draft.seen))
    except GraderError as error:
        raise NotSaved(str(error)) from error


def require_seen(decisions: Sequence[Decision], dossier: Dossier, seen: str) -> None:
    """Raise Outdated if the last decision about a student is not the one that the page showed."""
    about = list_about(decisions, dossier.grade.student)
    if about and about[-1].id != seen:
        last = about[-1]
        raise Outdated(
            f"{sanitise(last.matter.author)} decided about this student at {last.at:%H:%M} UTC, after you opened the "
            "page. It is shown now. Nothing of yours is saved yet: look, then save again."
        )


def build_matter(view: ClassView, dossier: Dossier, draft: Draft, author: str) -> Matter:
    """Build the decision that a draft is. Raises NotSaved."""
    key, words = dossier.grade.student.key, draft.words
    if draft.act in CHANGES:
        return _build_override(view, dossier, draft, author)
    if draft.act is Act.REVIEW:
        return Reviewed(student=key, upload=dossier.upload_id, author=author, sha256=dossier.sha256)
    if not words:
        raise NotSaved(MISSING[draft.act])
    if draft.about and draft.about not in view.titles:
        raise NotSaved("There is no such check.")
    if draft.act is Act.COMMENT:
        return Comment(student=key, text=words, author=author, check=draft.about)
    if draft.act is Act.CONTEST and draft.about:
        return Appeal(student=key, contests=draft.about, claim=words, author=author)
    appeal = dossier.appeals.get(draft.about)
    if appeal is None:
        raise Outdated("There is no such appeal any more.")
    return appeal.model_copy(update={"answer": words, "author": author})


def _build_override(view: ClassView, dossier: Dossier, draft: Draft, author: str) -> Override:
    worth: Mapping[str, float] = {"": view.possible}
    if draft.act is Act.POINTS:
        worth = {check.id: check.possible for check in dossier.checks}
    if draft.act is Act.MANUAL:
        worth = {item.id: item.possible for item in view.policy.manual}
    about = draft.about if draft.act in (Act.POINTS, Act.MANUAL) else ""
    if about not in worth:
        raise NotSaved("The result has nothing of this name any more; open the page again.")
    points = None if draft.act is Act.EXCUSE else _read_points(draft.points, worth[about])
    if not draft.words:
        raise NotSaved(NO_REASON)
    return Override(
        kind=CHANGES[draft.act],
        student=dossier.grade.student.key,
        target=about,
        points=points,
        possible=worth[about] if about else None,
        made_for=list_counting(dossier.grade, view.intake),
        author=author,
        reason=draft.words,
        date=datetime.datetime.now(datetime.UTC).date(),
    )


def _read_points(text: str, possible: float) -> float:
    try:
        points = float(text.replace(",", "."))
    except ValueError:
        points = math.nan
    if not 0 <= points <= possible:  # never true for NaN
        found = f"found {sanitise(text, 20)!r}" if text.strip() else "the field is empty"
        raise NotSaved(f"Write points from 0 to {possible:g}; {found}.")
    return points
