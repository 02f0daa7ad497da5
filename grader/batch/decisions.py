"""Keeps the decisions of a class in its folder, from which no run and no other person drops them.

`CLASS/decisions.jsonl` has a line for each (`grades/decisions.py`). Writers take a lock of its own, so that a page or
a command may write while a batch runs, and replace the file, so that a process that is killed leaves the old lines or
all of the new ones. A line that cannot be read is an error: a decision is never left out.
"""

import getpass
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout
from pydantic import ValidationError

from grader.batch.attempts import find_first_seen, read_attempts
from grader.batch.request import BatchRequest
from grader.batch.store import append_lines, write
from grader.errors import GraderError
from grader.grades.decisions import (
    MAX_CHARS,
    Decision,
    HandInGroups,
    HandInTimes,
    Matter,
    Origin,
    Rules,
    Rulings,
    Withdrawal,
    combine,
    describe_decision,
    describe_rivals,
    keep_longest,
    leave_out_giver,
    list_in_force,
    list_withdrawn,
    select_new,
    use_todays_keys,
)
from grader.grades.earlier_files import list_contents
from grader.grades.groups import add_groups, load_groups
from grader.grades.overrides import load_overrides
from grader.grades.policy import Extension, GradingPolicy, NameIndex, load_policy
from grader.grades.settlement import list_students
from grader.grades.times import load_times
from grader.intake.uploads import Intake
from grader.judging.scoring import load_rubric
from grader.paths import RUBRIC
from grader.text import sanitise

NAME: Final = "decisions.jsonl"
LOCK: Final = "decisions.lock"
HANDED_OUT: Final = "handed-out.json"  # how many decisions the outputs know
WAIT_S: Final = 30.0  # for whoever writes a decision at the same moment

Allow = Callable[[Sequence[Decision]], None]


def read_decisions(folder: Path) -> tuple[Decision, ...]:
    """Read all decisions about a class, oldest first. Raises GraderError."""
    path = folder / NAME
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
    except OSError as error:
        raise GraderError(f"Cannot read {path} ({error.strerror}); check the rights to it.") from error
    return tuple(_parse(line, path, number) for number, line in enumerate(lines, 1) if line.strip())


def _parse(line: bytes, path: Path, number: int) -> Decision:
    try:
        return Decision.model_validate_json(line)
    except ValidationError as error:
        raise GraderError(
            f"Line {number} of {path} is no decision that this version can read; correct the line, or use the "
            "version that wrote it. Nobody is graded without it."
        ) from error


def append_decision(folder: Path, matter: Matter, origin: Origin, allow: Allow = lambda decisions: None) -> Decision:
    """Add a person's decision to a class. Raises GraderError and OSError.

    Args:
        allow: raises where what others have decided meanwhile speaks against it; nobody writes until it returns.
    """
    with _open_book(folder) as decisions:
        allow(decisions)
        return _add(folder, decisions, [matter], origin)[0]


def withdraw(
    folder: Path, ids: Iterable[str], author: str, reason: str, origin: Origin = Origin.COMMAND
) -> tuple[Decision, ...]:
    """Take decisions away by their ids. Raises GraderError, and then takes none away."""
    with _open_book(folder) as decisions:
        gone, known = list_withdrawn(decisions), {decision.id for decision in decisions}
        for name in (ids := list(ids)):
            if name not in known or name in gone:
                state = "is taken away already" if name in gone else "does not exist"
                raise GraderError(f"The decision {name!r} {state}; `make decisions CLASS={folder}` lists them.")
        matters = [Withdrawal(decision=name, author=author, reason=reason) for name in ids]
        return _add(folder, decisions, matters, origin)


def take_over(request: BatchRequest, intake: Intake) -> tuple[str, ...]:
    """Record what the files of a request say, and return notes on them.

    Raises GraderError, and then records nothing.
    """
    given, known = _read_files(request, intake), NameIndex(list_students(intake))
    notes: list[str] = []
    with _open_book(request.folder) as decisions:
        for path, said in given:
            today, matters = use_todays_keys(decisions, known), keep_longest(said)
            notes += [*_describe_repeated(said, path.name), *_compare(today, matters, path.name)]
            notes += describe_rivals(today, matters, path.name)
            new = select_new(today, matters, path.name)
            decisions = (*decisions, *_draft(decisions, new, Origin.FILE, path.name))
        combine(decisions, intake, load_rubric(RUBRIC))
        _save(request.folder, decisions)
    return tuple(notes)


def load_rulings(folder: Path, intake: Intake) -> Rulings:
    """Apply what is in force to a class, by today's rubric. Raises GraderError."""
    return combine(read_decisions(folder), intake, load_rubric(RUBRIC), find_first_seen(folder, intake))


def note_handed_out(folder: Path, count: int) -> None:
    """Note that the outputs show the first so many decisions. Raises OSError."""
    write(folder / "store" / HANDED_OUT, json.dumps({"decisions": count}).encode())


def count_handed_out(folder: Path) -> int:
    """Return how many decisions, from the first on, the outputs show."""
    try:
        return int(json.loads((folder / "store" / HANDED_OUT).read_bytes())["decisions"])
    except (OSError, ValueError, TypeError, KeyError):  # an older version wrote the outputs: any may be missing there
        return 0


def name_author() -> str:
    """Return the name under which whoever runs this is logged in."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without an entry, as in some containers
        return "unknown"


def _read_files(request: BatchRequest, intake: Intake) -> list[tuple[Path, list[Matter]]]:
    """Read the files that were given. Overrides may be of the manual items of the policy that is given or in force."""
    given: list[tuple[Path, list[Matter]]] = []
    rulings = load_rulings(request.folder, intake)
    intake, policy = rulings.intake, rulings.policy
    recorded = _list_recorded(request.folder)
    if request.policy:
        policy = load_policy(request.policy)
        _require_known_checks(policy, request.policy)
        known = NameIndex(list_students(intake), recorded)
        _refuse_misnamed((e.student for e in policy.extension), known, f"policy {request.policy}")
        extended = [e.model_copy(update={"student": _find_key(e.student, known)}) for e in policy.extension]
        rules = Rules(policy=policy.model_copy(update={"extension": ()}), author=name_author())
        given.append((request.policy, [rules, *extended]))
    if request.groups:
        groups = HandInGroups(groups=load_groups(request.groups), author=name_author())
        intake = add_groups(intake, groups.groups, list_students(intake))
        given.append((request.groups, [groups]))
    if request.times:
        times = load_times(request.times)
        known = NameIndex(list_students(intake), recorded)
        _refuse_misnamed(times.times, known, f"times {request.times}")
        given.append((request.times, [HandInTimes(**dict(times), author=name_author())]))
    if request.overrides:
        students, rubric = list_students(intake), load_rubric(RUBRIC)
        entries = load_overrides(request.overrides, students, rubric, policy.manual, recorded).entries
        made = [e.model_copy(update={"made_for": list_contents(intake, e.student)}) for e in entries]
        given.append((request.overrides, [*made]))
    return given


def _require_known_checks(policy: GradingPolicy, path: Path) -> None:
    """Raise GraderError if the policy asks for a check that there is not."""
    wanted, rubric = policy.passing.checks if policy.passing else (), load_rubric(RUBRIC)
    if unknown := [name for name in wanted if name not in rubric]:
        raise GraderError(f"Cannot use the policy {path}: the rubric has no check {unknown[0]!r}; correct [passing].")


def _list_recorded(folder: Path) -> frozenset[str]:
    """Return the keys that students had earlier: they are still theirs after somebody is renamed."""
    named = (getattr(decision.matter, "student", "") for decision in read_decisions(folder))
    return frozenset(filter(None, (*named, *(record.student for record in read_attempts(folder)))))


def _refuse_misnamed(names: Iterable[str], known: NameIndex, title: str) -> None:
    """Raise GraderError for a name that is nobody's, and ends with the Canvas id of somebody: one part is wrong."""
    for name in names:
        if not known.find(name) and known.find_recorded(name):
            raise GraderError(
                f"Cannot use the {title}: {sanitise(name)!r} is no student of this class{known.suggest(name)}; "
                "correct the file."
            )


def _find_key(name: str, known: NameIndex) -> str:
    """Return the key of the one student who has this name, else the name: it may fit when more have handed in."""
    keys = known.find(name)
    return keys[0] if len(keys) == 1 else name


def _describe_repeated(matters: Iterable[Matter], file: str) -> Iterator[str]:
    """Tell of students with several extensions in a file."""
    count = Counter(matter.student for matter in matters if isinstance(matter, Extension))
    for student, number in count.items():
        if number > 1:
            yield f"{file} has {number} extensions of {student}: the longest one holds; leave only that."


def _compare(decisions: tuple[Decision, ...], matters: list[Matter], file: str) -> Iterator[str]:
    """Tell what a file no longer holds and stays in force, and what it still holds and was taken away."""
    gone, given = list_withdrawn(decisions), [leave_out_giver(matter) for matter in matters]
    for decision in list_in_force(decisions):
        mine = decision.origin is Origin.FILE and decision.file == file and not isinstance(decision.matter, HandInTimes)
        if mine and decision.subject not in {d.subject for d in _draft((), matters, Origin.FILE, file)}:
            yield f"No longer in {file}, and still in force: {describe_decision(decision)}"
        if mine and isinstance(decision.matter, HandInGroups):
            yield from _describe_left(decision.matter, select_new(decisions, matters, file), file)
    for decision in decisions:
        if decision.id in gone and decision.origin is Origin.FILE and leave_out_giver(decision.matter) in given:
            yield f"In {file}, and stays taken away: {describe_decision(decision)}"


def _describe_left(before: HandInGroups, matters: Iterable[Matter], file: str) -> Iterator[str]:
    """Tell who is in no group by a new version of a file of groups: it may be the file of another section."""
    for matter in (matter for matter in matters if isinstance(matter, HandInGroups)):
        now = {member.key for group in matter.groups for member in group.members}
        left = [member.name for group in before.groups for member in group.members if member.key not in now]
        if left:
            yield (
                f"No longer in a group by {file}: {sanitise(', '.join(left), MAX_CHARS)}. If it is the file of another "
                "section, give both files again under different names."
            )


@contextmanager
def _open_book(folder: Path) -> Iterator[tuple[Decision, ...]]:
    """Give the decisions of a class, and keep other writers out."""
    (folder / "store").mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "store" / LOCK, timeout=WAIT_S):
            yield read_decisions(folder)
    except Timeout as error:
        raise GraderError(f"Somebody else writes decisions in {folder}; try again.") from error


def _add(
    folder: Path, decisions: tuple[Decision, ...], matters: Sequence[Matter], origin: Origin
) -> tuple[Decision, ...]:
    added = _draft(decisions, matters, origin)
    _save(folder, (*decisions, *added))
    return added


def _draft(
    decisions: tuple[Decision, ...], matters: Iterable[Matter], origin: Origin, file: str = ""
) -> tuple[Decision, ...]:
    """Make the next decisions: d1, d2 and so on."""
    now, first = datetime.now(UTC), len(decisions) + 1
    return tuple(
        Decision(id=f"d{number}", at=now, origin=origin, file=file, matter=matter)
        for number, matter in enumerate(matters, first)
    )


def _save(folder: Path, decisions: tuple[Decision, ...]) -> None:
    """Write the lines that are not there yet. What is there stays byte for byte."""
    path = folder / NAME
    written = path.read_bytes() if path.exists() else b""
    there = sum(bool(line.strip()) for line in written.splitlines())
    if new := decisions[there:]:
        append_lines(path, [decision.model_dump_json(exclude_none=True) for decision in new])
