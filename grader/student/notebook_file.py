"""The notebook's file: where it is, what stands in it, and how it differs from what ran in this kernel."""

import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from IPython import get_ipython

from grader.errors import SubmissionError

# A bare digit is a step's where it numbers the heading, as in "2. The head" and "3.4", and no amount: "3 epochs".
HEADING: Final = re.compile(
    r"^(#{1,6})[ \t]+[*_]*(?:(?:step|part)[ \t-]*(\d)\b|(\d)(?=\.\d|[*_]*[ \t]*(?:[.:)\u2013\u2014]|-[ \t]|$)))?",
    re.IGNORECASE | re.MULTILINE,
)
FENCED: Final = re.compile(r"^[ \t]*```.*?^[ \t]*```", re.DOTALL | re.MULTILINE)  # code, whose comments are no headings
CHAPTER: Final = 2  # a heading of this level or above ends the step before it
MAX_BYTES: Final = 50 * 2**20
CHECKS_ONLY: Final = re.compile(r"\s*(?:#.*\s*)*check(?:_file)?\([^()]*\)\s*")
STUB: Final = re.compile(r"^\s*raise NotImplementedError", re.MULTILINE)
COLAB: Final = "google.colab"  # the module that every notebook there has loaded
UPLOAD_IT: Final = (
    "Download it (in the menu File: Download .ipynb), upload it in the file panel on the left, and call check_file() "
    "again. Do so after each change."
)
SAVE_IT: Final = "Save the notebook, then check again."


@dataclass(frozen=True)
class Ran:
    """A cell that ran: its id, where the editor gives one, its code, and when, as `time.time()` counts."""

    id: str | None
    source: str
    at_s: float


@dataclass(frozen=True)
class FileCell:
    """A code cell of the file. `step` and `section`: by the headings above it."""

    id: str | None
    source: str
    step: str | None
    ran: bool
    failed: bool


def find_named() -> Path | None:
    """Return the notebook's file, where its editor tells the kernel: VS Code in a variable, Jupyter in its name."""
    shell = get_ipython()
    named = (shell.user_ns.get("__vsc_ipynb_file__") if shell else None) or os.environ.get("JPY_SESSION_NAME")
    path = Path(named) if isinstance(named, str) and named.endswith(".ipynb") else None
    return path if path is not None and path.is_file() else None


def get_key() -> str:
    """Return what tells this notebook from others after a restart of its kernel: its path, else its folder."""
    return str(find_named() or Path.cwd())


def find_file(sources: Collection[str]) -> Path:
    """Return the notebook's file: as its editor says, or the one in this folder that holds most of these cells.

    Raises SubmissionError where there is none, or a choice.
    """
    if (named := find_named()) is not None:
        return _find_copy(named, sources) or named
    shared = Counter({path: len(_list_shared(path, sources)) for path in Path.cwd().glob("*.ipynb")})
    best = shared.most_common(2)
    if best and best[0][1] > 0 and (len(best) == 1 or best[0][1] > best[1][1]):
        return best[0][0]
    if COLAB in sys.modules and not shared.total():
        raise SubmissionError(f"This notebook's file is not on this machine: Colab keeps it elsewhere. {UPLOAD_IT}")
    where = f"{len(best)} of them look like it" if len(best) > 1 else f"there is none in {Path.cwd()}"
    raise SubmissionError(f"This notebook's file is not known here ({where}). Name it: check_file('assignment.ipynb').")


def _find_copy(named: Path, sources: Collection[str]) -> Path | None:
    """Return the file that the work went on in after "Save As": a kernel keeps the name that it was started with.

    Such a file was saved later, and holds more of the cells that ran. Raises SubmissionError where several do.
    """
    saved_s, held = named.stat().st_mtime, len(_list_shared(named, sources))
    others = (path for path in named.parent.glob("*.ipynb") if path.is_file() and not path.samefile(named))
    later = {path: len(_list_shared(path, sources)) for path in others if path.stat().st_mtime > saved_s}
    best = [path for path, number in later.items() if number == max(later.values()) > held]
    if len(best) > 1:
        names = " and ".join(f"`{path.name}`" for path in sorted(best))
        said = f"{names} hold more of what you ran than `{named.name}`, with which this kernel was started."
        raise SubmissionError(f"{said} Name yours: check_file('{min(best).name}').")
    return best[0] if best else None


def describe_choice(path: Path) -> tuple[str, ...]:
    """Say why it is another file than the editor's, where it is."""
    named = find_named()
    if named is None or path == named:
        return ()
    said = f"This kernel was started with `{named.name}`; `{path.name}` was saved later and holds more of what you ran."
    return (f"{said} For another file: check_file('{named.name}').",)


def _list_shared(path: Path, sources: Collection[str]) -> set[str]:
    wanted = {source.strip() for source in sources if source.strip() and not CHECKS_ONLY.fullmatch(source)}
    try:
        return wanted & {cell.source.strip() for cell in read_cells(path)}
    except (OSError, ValueError):  # no notebook, whatever its name says
        return set()


def find_step(source: str, cell_id: str | None = None) -> str | None:
    """Return the step under whose heading a cell stands in the file; None where that is not known.

    By its id, where the editor gives one that the file has, too: the cell may have been edited since it was saved. A
    file that cannot be read now, such as one that is being written, says nothing.
    """
    if not source.strip():
        return None
    try:
        path = find_named()
        cells = read_cells(path) if path else ()
    except (OSError, ValueError):
        return None
    found = {cell.step for cell in cells if cell_id and cell.id == cell_id}
    found = found or {cell.step for cell in cells if cell.source.strip() == source.strip()}
    return found.pop() if len(found) == 1 else None


def read_cells(path: Path) -> tuple[FileCell, ...]:
    """Return the code cells of a notebook's file. Raises OSError, and ValueError where it holds no notebook."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} has more than {MAX_BYTES // 2**20} MiB")
    try:
        return tuple(_read_cells(json.loads(path.read_text(encoding="utf-8"))))
    except (AttributeError, TypeError, RecursionError) as error:  # JSON of another shape
        raise ValueError(f"{path} holds no notebook") from error


def _read_cells(data: Any) -> Iterator[FileCell]:
    step = None
    for cell in data.get("cells", []):
        source = "".join(cell.get("source") or "")
        if cell.get("cell_type") != "code":
            step = _read_step(source, step)
        elif source.strip():
            failed = any(output.get("output_type") == "error" for output in cell.get("outputs", []))
            yield FileCell(cell.get("id"), source, step, cell.get("execution_count") is not None, failed)


def _read_step(text: str, step: str | None) -> str | None:
    """Return the step below some text. A heading without a number ends the one before it, if it is a large one."""
    for signs, named, numbered in HEADING.findall(FENCED.sub("", text)):
        if named or numbered or len(signs) <= CHAPTER:
            step = f"step{named or numbered}" if named or numbered else None
    return step


def find_unsaved(cells: Sequence[FileCell], saved_s: float, ran: Sequence[Ran]) -> list[Ran]:
    """Return the cells that ran after the file was saved with code that is not in it."""
    by_id = {cell.id: cell.source.strip() for cell in cells if cell.id}
    sources = {cell.source.strip() for cell in cells}
    later = (one for one in ran if one.at_s > saved_s and one.source.strip())
    later = (one for one in later if not CHECKS_ONLY.fullmatch(one.source))
    known = ((one, by_id.get(one.id or "")) for one in later)
    return [
        one
        for one, saved in known
        if one.source.strip() != saved and (saved is not None or one.source.strip() not in sources)
    ]


def describe_unsaved(unsaved: Sequence[Ran]) -> str:
    """Warn of changes that are not in the file; empty without any."""
    if not unsaved:
        return ""
    last = unsaved[-1].source.strip().splitlines()[0][:60]
    cells = "a cell" if len(unsaved) == 1 else f"{len(unsaved)} cells"
    return f"You ran {cells} since the file was saved with code that is not in it, such as `{last}`. {SAVE_IT}"


def describe_contents(path: Path, cells: Sequence[FileCell], now_s: float) -> tuple[str, ...]:
    """Say what would be handed in with a file, and what seems to be missing in it."""
    saved_s = path.stat().st_mtime
    day = "%H:%M" if now_s - saved_s < 43_200 else "%d %B, %H:%M"
    size = path.stat().st_size / 1000
    saved = time.strftime(day, time.localtime(saved_s))
    told = [f"Would be handed in: `{path.name}` as saved at {saved}, {len(cells)} code cells, {size:,.0f} kB."]
    counts = {
        "not been run in it, so that their outputs are missing": sum(
            not (cell.ran or CHECKS_ONLY.fullmatch(cell.source))  # such as the one that runs this
            for cell in cells
        ),
        "an error as their output": sum(cell.failed for cell in cells),
        "`raise NotImplementedError` where your code belongs": sum(bool(STUB.search(cell.source)) for cell in cells),
    }
    told += [f"Code cells that have {what}: {number}." for what, number in counts.items() if number]
    return tuple(told)
