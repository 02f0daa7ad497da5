"""Plays the scenes, and says of each what the check said and what is not as expected."""

import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from grader.reporting.in_notebook import SYMBOLS
from tests.proof.student_hour.kit_folder import KitFolder
from tests.proof.student_hour.live_notebook import LiveNotebook
from tests.proof.student_hour.scenes import BEGIN, Event, Scene

INTERRUPT_S: Final = 4
REPEATED: Final = 7  # a median of as many
ROW: Final = re.compile(
    rf"^[{''.join(set(SYMBOLS.values()))}] (passed|failed|blocked|not yet|note|error)$", re.MULTILINE
)
TakePictures = Callable[[str, str], None]  # name of a picture, cell


@dataclass(frozen=True)
class Outcome:
    """One scene: what the check said of the mistake, and afterwards, how long it took, and what is not as expected."""

    scene: Scene
    said: str
    said_then: str
    seconds: float
    faults: tuple[str, ...]


def play(scene: Scene, notebook: LiveNotebook, kit: KitFolder, take: TakePictures) -> Outcome:
    """Make the mistake, check, put it right, check again."""
    run_right(notebook, kit, scene.before)
    _err(scene, notebook, kit)
    seconds = _check(scene, notebook)
    said = notebook.read(scene.check)
    faults = [*find_faults(scene, said), *_find_place_faults(scene, notebook, kit, said)]
    if scene.picture:
        take(scene.picture, scene.check)
    _mend(scene, notebook, kit)
    then = notebook.read(scene.check)
    if scene.picture:
        take(f"{scene.picture}-right", scene.check)
    return Outcome(scene, said, then, seconds, (*faults, *find_end_faults(scene, then)))


def run_right(notebook: LiveNotebook, kit: KitFolder, cells: Sequence[str]) -> None:
    """Write the right source into some cells, and run them."""
    for cell in cells:
        notebook.write(cell, kit.right[cell])
        notebook.run(cell)


def build_wrong(scene: Scene, kit: KitFolder) -> str:
    """Return the wrong source of a scene's cell. Raises ValueError where an edit does not fit the right one."""
    source = kit.right[scene.cell] if scene.edits else kit.given[scene.cell]
    for old, new in scene.edits:
        if old not in source:
            raise ValueError(f"{scene.id}: {old!r} is not in the cell {scene.cell}")
        source = source.replace(old, new)
    return source


def _err(scene: Scene, notebook: LiveNotebook, kit: KitFolder) -> None:
    if scene.cell:
        notebook.write(scene.cell, build_wrong(scene, kit))
        notebook.run(scene.cell)
    run_right(notebook, kit, scene.after)
    if scene.event is Event.RESTART:
        notebook.restart()
        run_right(notebook, kit, BEGIN)
    if scene.calls:
        notebook.write(scene.check, scene.calls)


def _check(scene: Scene, notebook: LiveNotebook) -> float:
    return notebook.run(scene.check, INTERRUPT_S if scene.event is Event.INTERRUPT else None)


def _mend(scene: Scene, notebook: LiveNotebook, kit: KitFolder) -> None:
    if scene.cell:
        run_right(notebook, kit, [scene.cell] if scene.cell not in scene.mends else [])
    run_right(notebook, kit, (*scene.mends, *scene.after))
    if scene.event is Event.SAVE:
        notebook.command("docmanager:save")
    notebook.run(scene.check)
    if scene.calls:
        notebook.write(scene.check, kit.given[scene.check])


def find_faults(scene: Scene, said: str) -> Iterator[str]:
    """Yield what an output lacks, or says wrongly."""
    plain = said.replace("`", "").lower()
    yield from (f"does not say “{words}”" for words in scene.says if words.replace("`", "").lower() not in plain)
    yield from (f"says “{words}”" for words in scene.never if words.lower() in plain)


def _find_place_faults(scene: Scene, notebook: LiveNotebook, kit: KitFolder, said: str) -> Iterator[str]:
    if scene.place:
        lines = build_wrong(scene, kit).splitlines()
        number = next(number for number, line in enumerate(lines, 1) if scene.place in line)
        place = f"In [{notebook.count(scene.cell)}], line {number}"
        if place not in said:
            yield f"does not name {place}"


def find_end_faults(scene: Scene, said: str) -> Iterator[str]:
    """Yield what is not right once the mistake is put right."""
    marks = ROW.findall(said)
    if not marks or marks[-1] != scene.ends:
        yield f"when put right, it ends with {marks[-1] if marks else 'nothing'}"


def measure(notebook: LiveNotebook, cell: str) -> float:
    """Return the median of the seconds that a check takes that ran before."""
    return statistics.median(notebook.run(cell) for _ in range(REPEATED))


def find_verdict(said: str) -> str:
    """Return the first thing that an output says that is not passed: mark, title and first sentences, in one line."""
    parts = ROW.split(said)
    rows = list(zip(parts[1::2], parts[2::2], strict=True))
    wrong = next(((mark, text) for mark, text in rows if mark not in ("passed", "note")), None)
    if wrong is None:
        return " ".join(said.split())[:300]
    lines = [line for line in wrong[1].strip().splitlines() if line.strip()]
    return f"{wrong[0]}: {' '.join(line if line.endswith('.') else f'{line}.' for line in lines[:2])}"
