"""What people decided about a class: overrides, rules, extensions, times, comments. Pure.

Decisions form a list that only grows. A later one about the same thing takes the place of an earlier one. A withdrawal
takes one away by its id; what that one had replaced is in force again. A withdrawal is itself a decision, so that
withdrawing it brings back what it took away.
"""

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final

from pydantic import AwareDatetime, Field

from grader.grades.grade import Answer
from grader.grades.groups import add_groups
from grader.grades.overrides import Override, OverrideKind, Overrides
from grader.grades.policy import DAY, Extension, GradingPolicy, NameIndex, Text, describe
from grader.grades.settlement import list_students, require_one_each
from grader.grades.times import Times, add_times, describe_untimed
from grader.intake.uploads import Group, Intake
from grader.model import FrozenModel, Verdict
from grader.text import sanitise

MAX_CHARS = 160  # of such a line
MAX_LISTED = 12  # lines about decisions that a run prints
SAME_RUN = datetime.timedelta(seconds=10)  # earlier versions noted uploads just after the decisions of the same run


class Origin(StrEnum):
    """The way in which a decision came here."""

    FILE = "file"  # one that a person named: it may be named again, and then says nothing new
    REVIEW = "review page"
    COMMAND = "command"


class Rules(FrozenModel):
    """The rules of the course. Extensions are decisions of their own."""

    policy: GradingPolicy
    author: Text


class HandInTimes(Times):
    """When students handed in, as somebody gave it."""

    author: Text


class HandInGroups(FrozenModel):
    """Who hands in together."""

    groups: tuple[Group, ...]
    author: Text


class Comment(FrozenModel):
    """Words of a person to a student, about a check or about the whole."""

    student: Text
    text: Text
    author: Text
    check: str = ""


class Reviewed(FrozenModel):
    """A person has looked at what a student handed in: the file with this id and content, where there is one."""

    student: Text
    upload: str
    author: Text
    sha256: str = ""  # marks of earlier versions say nothing of the content


class Appeal(FrozenModel):
    """A check that is contested, with the claim; it is open until somebody answers."""

    student: Text
    contests: Text
    claim: Text
    author: Text
    answer: str = ""


class Withdrawal(FrozenModel):
    """The end of a decision, which is named by its id."""

    decision: Text
    author: Text
    reason: Text


UNSAID: Final = {"possible": None, "made_for": None}  # of an override, by the file that it stands in
LONG_AGO: Final = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
NEVER: Final[Mapping[str, datetime.datetime]] = {}

Matter = Override | Extension | Rules | HandInTimes | HandInGroups | Comment | Reviewed | Appeal | Withdrawal


class Decision(FrozenModel):
    """One decision. `id` is unique in a class; `file` names the file that it stood in."""

    id: str
    at: AwareDatetime
    origin: Origin
    file: str = ""
    matter: Matter

    @property
    def subject(self) -> tuple[str, ...]:
        """What it is about: of two with the same subject, the later one holds."""
        match self.matter:
            case Override() as change:
                return (change.kind, change.student, change.target)
            case Extension() as extension:
                return ("extension", extension.student)
            case Comment() as comment:
                return ("comment", comment.student, comment.check)
            case Reviewed() as mark:
                return ("reviewed", mark.student)
            case Appeal() as appeal:
                return ("appeal", appeal.student, appeal.contests)
            case Rules():
                return ("policy",)
            case HandInGroups():
                return ("groups", self.file)  # one for each section, say
            case _:
                return (self.id,)

    @property
    def topic(self) -> tuple[str, ...]:
        """What files are compared by. All times are of one topic, although all of them hold, and so are all groups."""
        match self.matter:
            case HandInTimes():
                return ("times",)
            case HandInGroups():
                return ("groups",)
            case _:
                return self.subject


class Rulings(FrozenModel):
    """What is in force, applied to a class: the intake has the times; `notes` name what has no effect."""

    intake: Intake
    policy: GradingPolicy
    overrides: Overrides
    comments: dict[str, dict[str, str]] = Field(default_factory=dict)  # by the student's key, then by check; "": all
    answers: dict[str, dict[str, Answer]] = Field(default_factory=dict)  # to appeals, in the same way
    notes: tuple[str, ...] = ()
    changes: dict[str, Override] = Field(default_factory=dict)  # the overrides, by the ids of their decisions
    earlier: dict[str, dict[str, Override]] = Field(default_factory=dict)  # by key: those made for an earlier file


def list_withdrawn(decisions: Sequence[Decision]) -> frozenset[str]:
    """Return the ids of the decisions that were taken away."""
    gone = set[str]()
    for decision in reversed(decisions):  # a withdrawal is always later than what it takes away
        if isinstance(decision.matter, Withdrawal) and decision.id not in gone:
            gone.add(decision.matter.decision)
    return frozenset(gone)


def list_in_force(decisions: Sequence[Decision]) -> tuple[Decision, ...]:
    """Return the decisions that hold, oldest first."""
    gone = list_withdrawn(decisions)
    last = {d.subject: d for d in decisions if d.id not in gone and not isinstance(d.matter, Withdrawal)}
    return tuple(decision for decision in decisions if last.get(decision.subject) is decision)


def keep_longest(matters: Sequence[Matter]) -> list[Matter]:
    """Return what a file says with the longest extension of each student alone: its tables have no order in time."""
    due = next((m.policy.deadline.due for m in matters if isinstance(m, Rules) and m.policy.deadline), LONG_AGO)
    longest: dict[str, Extension] = {}
    for extension in (matter for matter in matters if isinstance(matter, Extension)):
        known = longest.get(extension.student, extension)
        longest[extension.student] = max(known, extension, key=lambda e: e.due or due + (e.days or 0) * DAY)
    return [matter for matter in matters if not isinstance(matter, Extension) or longest[matter.student] is matter]


def select_new(decisions: Sequence[Decision], matters: Iterable[Matter], file: str) -> list[Matter]:
    """Return what a file says that it did not say before: it may be given again without changing anything.

    What a file of this name last said about a topic is compared, or else what any file did, whatever was decided
    elsewhere, or taken away, since then, and whoever gave it: what one assistant took away does not come back when
    another one repeats the command.
    """
    said = _Said(decisions)
    return [matter for matter in matters if not said.says_again(_draft(matter, file))]


def describe_rivals(decisions: Sequence[Decision], matters: Iterable[Matter], file: str) -> Iterator[str]:
    """Tell where a file contradicts what holds and stood in another file: which of the two holds now."""
    said, gone = _Said(decisions), list_withdrawn(decisions)
    holding = {d.topic: d for d in list_in_force(decisions) if d.origin is Origin.FILE}
    for draft in (_draft(matter, file) for matter in matters):
        rival, mine = holding.get(draft.topic), said.find(draft)
        if rival is None or rival.file == file or _is_same(rival, draft) or isinstance(draft.matter, HandInGroups):
            continue  # groups of two files hold beside each other
        if not said.says_again(draft) and not isinstance(draft.matter, HandInTimes):  # of times, all hold
            yield f"{file} takes the place of {describe_decision(rival)}"
        elif said.says_again(draft) and mine and mine.file == file and mine.id not in gone:
            yield (
                f"In {file} as before, and what was given since holds: {describe_decision(rival)}. "
                f"Take {rival.id} away if {file} should hold."
            )


class _Said:
    """What files said last, by topic."""

    def __init__(self, decisions: Iterable[Decision]) -> None:
        given = [decision for decision in decisions if decision.origin is Origin.FILE]
        self._by_file = {(decision.file, decision.topic): decision for decision in given}
        self._by_any = {decision.topic: decision for decision in given}

    def find(self, draft: Decision) -> Decision | None:
        """Find what the file of a draft said about its topic, or else what any file did."""
        return self._by_file.get((draft.file, draft.topic)) or self._by_any.get(draft.topic)

    def says_again(self, draft: Decision) -> bool:
        """Return True if a draft says the same."""
        found = self.find(draft)
        return found is not None and _is_same(found, draft)


def _is_same(one: Decision, other: Decision) -> bool:
    return leave_out_giver(one.matter) == leave_out_giver(other.matter)


def _draft(matter: Matter, file: str) -> Decision:
    return Decision(id="", at=LONG_AGO, origin=Origin.FILE, file=file, matter=matter)


def leave_out_giver(matter: Matter) -> Matter:
    """Return what a file says, without what it does not: who gave it, and what checks and files there were then.

    Authors that stand in the file itself stay.
    """
    if isinstance(matter, Rules | HandInTimes | HandInGroups):
        return matter.model_copy(update={"author": ""})
    return matter.model_copy(update=UNSAID) if isinstance(matter, Override) else matter


def combine(
    decisions: Sequence[Decision],
    intake: Intake,
    rubric: Mapping[str, float],
    seen: Mapping[str, datetime.datetime] = NEVER,
) -> Rulings:
    """Apply what is in force to a class. What fits nobody or nothing here has no effect, and a note says so.

    Raises GraderError where one name means several students.

    Args:
        seen: when a run first found an upload, by its id: times that were given before are of an earlier attempt.
    """
    for decision in list_in_force(decisions):
        if isinstance(decision.matter, HandInGroups):
            intake = add_groups(intake, decision.matter.groups, list_students(intake), decision.file)
    known = NameIndex(list_students(intake))
    holding = list_in_force(use_todays_keys(decisions, known))
    matters = [(decision.id, decision.matter) for decision in holding]
    policy = next((matter.policy for _, matter in matters if isinstance(matter, Rules)), GradingPolicy())
    policy = policy.model_copy(update={"extension": tuple(m for _, m in matters if isinstance(m, Extension))})
    require_one_each(policy, intake)
    intake = _apply_times(holding, intake, seen)
    fitter = _Fitter(known, rubric, {item.id: item.possible for item in policy.manual})
    fitted = {name: fitter.fit(name, matter) for name, matter in matters if isinstance(matter, Override)}
    changes = {name: change for name, change in fitted.items() if change}
    comments: dict[str, dict[str, str]] = {}
    answers: dict[str, dict[str, Answer]] = {}
    for _, matter in matters:
        match matter:
            case Comment(student=student) if known.has_key(student):
                comments.setdefault(student, {})[matter.check] = matter.text
            case Appeal(student=student) if known.has_key(student) and matter.answer:
                said = Answer(claim=matter.claim, answer=matter.answer)
                answers.setdefault(student, {})[matter.contests] = said
    return Rulings(
        intake=intake,
        policy=policy,
        overrides=Overrides(entries=tuple(changes.values()), possible=fitter.possible),
        comments=comments,
        answers=answers,
        notes=(*fitter.notes, *fitter.describe_undated(), *_list_strange(decisions, holding, known)),
        changes=changes,
    )


def use_todays_keys(decisions: Iterable[Decision], known: NameIndex) -> tuple[Decision, ...]:
    """Return the decisions with the keys that their students have today, whatever they name them by."""
    return tuple(_use_todays_key(decision, known) for decision in decisions)


def _use_todays_key(decision: Decision, known: NameIndex) -> Decision:
    keys = known.find_recorded(getattr(decision.matter, "student", ""))
    if len(keys) != 1:
        return decision
    return decision.model_copy(update={"matter": decision.matter.model_copy(update={"student": keys[0]})})


def _list_strange(given: Sequence[Decision], holding: Sequence[Decision], known: NameIndex) -> Iterator[str]:
    """Tell of words about students who are not here. Changes of points and extensions have notes of their own.

    Args:
        given: all decisions, with the names that they were recorded with.
        holding: those in force, with the keys of today.
    """
    ids = {decision.id for decision in holding}
    yield from _list_by_number([decision for decision in given if decision.id in ids], known)
    for decision in holding:
        matter = decision.matter
        if isinstance(matter, Comment | Appeal | Reviewed) and not known.has_key(matter.student):
            yield f"Decision {decision.id} has no effect: {sanitise(matter.student)!r} is no student here."


def _list_by_number(decisions: Sequence[Decision], known: NameIndex) -> Iterator[str]:
    """Tell of extensions that find their student by the Canvas id at the end alone: the name may be another one's.

    They are recorded as somebody wrote them, if nobody had the name then; other decisions have the key of a student.
    """
    keys = {getattr(d.matter, "student", "") for d in decisions if not isinstance(d.matter, Extension)}
    for decision in decisions:
        matter = decision.matter
        if isinstance(matter, Extension) and matter.student not in keys and not known.find(matter.student):
            for key in known.find_recorded(matter.student):
                yield (
                    f"Decision {decision.id}, an extension for {sanitise(matter.student)!r}, counts for "
                    f"{sanitise(key)}, by the Canvas id alone; check that they are the same."
                )


def _apply_times(decisions: Sequence[Decision], intake: Intake, seen: Mapping[str, datetime.datetime]) -> Intake:
    """Return the intake with all times that were given after an upload came in."""
    later: frozenset[str] = frozenset()
    for decision in decisions:
        if isinstance(decision.matter, HandInTimes):
            later = frozenset(name for name, at in seen.items() if at > decision.at + SAME_RUN)
            intake = add_times(intake, decision.matter, f"{decision.file} ({decision.id})", later)
    note = describe_untimed(intake, later)
    return intake.model_copy(update={"notes": (*intake.notes, note)}) if note else intake


class _Fitter:
    """Makes overrides fit the class and the rubric as they are today, and notes what it had to do."""

    def __init__(self, known: NameIndex, rubric: Mapping[str, float], items: Mapping[str, float]) -> None:
        self.known, self.possible = known, round(sum(rubric.values()) + sum(items.values()), 2)
        whole = {"": self.possible}
        self.worth = {OverrideKind.CHECK: rubric, OverrideKind.MANUAL: items}
        self.worth |= {OverrideKind.TOTAL: whole, OverrideKind.EXCUSED: whole}
        self.notes: list[str] = []
        self.undated: list[str] = []  # decisions that do not say what their check was worth, and give less than all

    def fit(self, name: str, override: Override) -> Override | None:
        """Return the override as it can be applied, None if it cannot."""
        worth = self.worth[override.kind]
        if not self.known.has_key(override.student):
            self.notes.append(f"Decision {name} has no effect: {sanitise(override.student)!r} is no student here.")
            return None
        if override.target not in worth:
            self.notes.append(f"Decision {name} has no effect: the rubric has no {sanitise(override.target)!r}.")
            return None
        most = worth[override.target]
        if override.possible is not None and override.possible != most:
            return self._fit_worth(name, override, override.possible, most)
        if override.points is not None and override.points > most:
            self.notes.append(f"Decision {name} gives {override.points:g} points and counts as {most:g}, all there is.")
            return override.model_copy(update={"points": most})
        if override.target and override.possible is None and 0 < (override.points or 0) < most:
            self.undated.append(name)
        return override

    def _fit_worth(self, name: str, override: Override, then: float, now: float) -> Override:
        """Fit a change to what its target is worth by now: all of the points stay all of them."""
        changed = f"{sanitise(override.target)}, worth {then:g} points then and {now:g} now"
        if override.points is None:
            self.notes.append(f"Decision {name} says {override.verdict} for {changed}: it still does.")
            return override
        if override.points < then:
            points = min(override.points, now)
            said = f"gives {override.points:g} points of {changed}: it counts as {points:g}"
            self.notes.append(f"Decision {name} {said}. Decide again if it should be another share.")
            return override.model_copy(update={"points": points})
        self.notes.append(f"Decision {name} gives all points of {changed}: it counts as {now:g}.")
        if override.kind is OverrideKind.MANUAL:
            return override.model_copy(update={"points": now})
        # As a verdict it gives all points of results that are still to be judged by today's rubric, too.
        return override.model_copy(update={"points": None, "verdict": Verdict.PASSED})

    def describe_undated(self) -> Iterator[str]:
        """Tell of decisions of older versions that may have given all points of a check that is worth more by now."""
        if self.undated:
            yield (
                f"Not recorded what the check was worth when somebody decided: {', '.join(self.undated)}. Each gives "
                "less than all points of today; if one should give all of them, decide again."
            )


def describe_decision(decision: Decision) -> str:
    """Write a decision in one line, with its id, its author and the reason."""
    matter, where = decision.matter, f", {decision.file}" if decision.file else ""
    match matter:
        case Override():
            what, signed = _describe_override(matter), f"{matter.signed}{where}: {matter.reason}"
        case Extension():
            until = f"until {matter.due:%Y-%m-%d %H:%M %Z}" if matter.due else f"of {matter.days:g} days"
            what, signed = f"extension of {matter.student} {until}", f"{matter.author}{where}: {matter.reason}"
        case Rules():
            what, signed = f"rules: {' '.join(describe(matter.policy))}", f"{matter.author}{where}"
        case HandInTimes():
            what, signed = f"times of {len(matter.times)} students", f"{matter.author}{where}"
        case HandInGroups():
            what, signed = f"{len(matter.groups)} groups", f"{matter.author}{where}"
        case Comment():
            about = f" on {matter.check}" if matter.check else ""
            what, signed = f"comment to {matter.student}{about}", f"{matter.author}: {matter.text}"
        case Reviewed():
            what, signed = f"{matter.student} reviewed", matter.author
        case Appeal():
            state = f"answered: {matter.answer}" if matter.answer else f"open: {matter.claim}"
            what, signed = f"appeal of {matter.student} on {matter.contests}", f"{matter.author}; {state}"
        case Withdrawal():
            what, signed = f"{matter.decision} taken away", f"{matter.author}: {matter.reason}"
    return sanitise(f"{decision.id}: {what} ({signed})", MAX_CHARS)


def _describe_override(change: Override) -> str:
    between = " " if change.kind is OverrideKind.EXCUSED else ", "
    return f"{change.student}{between}{describe_change(change)}"


def describe_change(change: Override) -> str:
    """Write what an override says, without its student."""
    if change.kind is OverrideKind.EXCUSED:
        return "excused"
    gives = f"{change.points:g} points" if change.points is not None else str(change.verdict)
    return f"{sanitise(change.target) or 'total'}: {gives}"


def describe_in_force(decisions: Sequence[Decision], most: int = MAX_LISTED) -> Iterator[str]:
    """List what is in force, a line each, and the number of older ones that are left out; a line too if nothing is."""
    found = list_in_force(decisions)
    yield f"Decisions in force: {len(found)}{':' if found else '.'}"
    yield from (f"  {describe_decision(decision)}" for decision in found[-most:])
    if len(found) > most:
        yield f"  and {len(found) - most} older ones"
