"""A made-up class: the corpus, handed in by people with names under the names that Canvas gives to files.

Of whom is known what the grader has to say, this makes a zip archive as Canvas makes it, and the teacher's gradebook
export. Everything follows from the size of the class: two calls make the same bytes.
"""

import csv
import io
import json
import re
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from grader.model import FrozenModel
from grader.paths import CORPUS
from tests.proof.security.cases import load_cases
from tests.proof.validity.corpus import CaseKind

EPOCH: Final = (2026, 1, 2, 3, 4, 6)
LATE_EVERY: Final = 7
ZIPPED_EVERY: Final = 23  # hands the notebook in inside of a zip archive
COMPANION_EVERY: Final = 11  # hands a second file in
FIRST_USER: Final = 50_001
REFUSED: Final = (  # what is handed in instead of a notebook: suffix of its name and content
    (".py", b"print('this was exported')\n"),
    (".html", b"<!DOCTYPE html><title>my notebook</title>"),
    (".ipynb", b'{"cells": ['),
    (".pdf", b"%PDF-1.7\n"),
    (".ipynb", b""),
    (".zip", b"PK\x05\x06" + bytes(18)),
)


@dataclass(frozen=True)
class DemoStudent:
    """One student with what is handed in. `what` names the case."""

    given: str
    family: str
    user: int
    what: str
    entries: tuple[tuple[str, bytes], ...]  # name in the archive, content


class ClassTable(FrozenModel):
    """class.toml."""

    title: str
    assignment_id: int
    pattern: tuple[str, ...]
    hostile: tuple[str, ...]
    files: tuple[str, ...]
    given: tuple[str, ...]
    family: tuple[str, ...]


def load_table() -> ClassTable:
    """Read what classes are made of."""
    return ClassTable.model_validate(tomllib.loads((CORPUS / "classroom" / "class.toml").read_text(encoding="utf-8")))


def generate_notebooks(table: ClassTable) -> Iterator[tuple[str, bytes]]:
    """Yield what one student after the other hands in, without end: the case's name and the file's content."""
    from tests.proof.validity.corpus_run import load

    untrained = [case for case in load()[1] if not case.training]
    hostile = {case.id: case.sources for case in load_cases(CORPUS / "hostile")}
    cases: dict[str, Iterator[tuple[str, Sequence[str]]]] = {
        kind: cycle([(case.id, case.cells) for case in untrained if case.kind is kind]) for kind in CaseKind
    }
    cases["hostile"] = cycle([(name, hostile[name]) for name in table.hostile])
    refused = cycle([(f"refused {suffix}", content) for suffix, content in REFUSED])
    last = ("", b"")
    for kind in cycle(table.pattern):
        if kind in cases:  # otherwise the same once more
            name, sources = next(cases[kind])
            last = name, build_notebook(sources)
        yield next(refused) if kind == "refused" else last


def build_notebook(sources: Sequence[str]) -> bytes:
    """A notebook file with these cells, as Jupyter saves it."""
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "execution_count": None, "id": f"c{i}", "metadata": {}, "outputs": [], "source": source}
        for i, source in enumerate(sources)
    ]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}).encode()


def generate_people(table: ClassTable, size: int) -> list[tuple[str, str]]:
    """Given and family names, all different."""
    given, family = len(table.given), len(table.family)
    return [
        (table.given[i % given] + " II" * (i // (given * family)), table.family[(i // given + i % given) % family])
        for i in range(size)
    ]


def make(size: int) -> tuple[DemoStudent, ...]:
    """A class."""
    table = load_table()
    handed = zip(generate_people(table, size), generate_notebooks(table), strict=False)
    return tuple(_make_student(table, i, names, *found) for i, (names, found) in enumerate(handed))


def _make_student(table: ClassTable, index: int, names: tuple[str, str], what: str, content: bytes) -> DemoStudent:
    (given, family), user, attachment = names, FIRST_USER + index, 900_001 + 10 * index
    owner = re.sub(r"\W", "", f"{family}{given}").lower() + ("_LATE" if (index + 1) % LATE_EVERY == 0 else "")
    file = table.files[index % len(table.files)]
    if what.startswith("refused"):
        file = f"{file.removesuffix('.ipynb')}{what.removeprefix('refused ')}"
    elif (index + 1) % ZIPPED_EVERY == 0:
        file, content = "handin.zip", _zip([(f"hand in/{file}", content), ("__MACOSX/._x.ipynb", b"\0")])
    entries = [(f"{owner}_{user}_{attachment}_{file}", content)]
    if (index + 1) % COMPANION_EVERY == 0:
        entries.append((f"{owner}_{user}_{attachment + 1}_helpers.py", b"# nothing to see here\n"))
    return DemoStudent(given, family, user, what, tuple(entries))


def build_archive(made: Sequence[DemoStudent]) -> bytes:
    """The archive that Canvas's "Download Submissions" gives."""
    return _zip([entry for student in made for entry in student.entries])


def _zip(entries: Sequence[tuple[str, bytes]]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries:
            file.writestr(zipfile.ZipInfo(name, EPOCH), content)
    return packed.getvalue()


def export(made: Sequence[DemoStudent]) -> bytes:
    """The teacher's gradebook export, with somebody who handed nothing in."""
    table = load_table()
    column = f"{table.title} ({table.assignment_id})"
    rows: list[list[Any]] = [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", column, "Current Score"],
        ["    Points Possible", "", "", "", "", "100", "(read only)"],
        *([f"{m.family}, {m.given}", m.user, f"S{m.user}", f"user{m.user}", "DAT450", "", ""] for m in made),
        ["Absent, Abel", FIRST_USER - 1, f"S{FIRST_USER - 1}", f"user{FIRST_USER - 1}", "DAT450", "12", ""],
        ["Student, Test", FIRST_USER - 2, "", "test", "DAT450", "", ""],
    ]
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8-sig")


def write(size: int, folder: Path) -> tuple[Path, Path]:
    """Make a class's archive and export in a folder. Returns their paths. Raises OSError."""
    made = make(size)
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "submissions.zip", folder / "gradebook-export.csv"
    for path, content in zip(paths, (build_archive(made), export(made)), strict=True):
        path.write_bytes(content)
    return paths
