"""Whole notebooks as students write them, kept as text so that they can be read and compared line by line.

A cell begins with a line `# %%`, a text cell with `# %% [markdown]`. What a cell has saved as its output follows it,
under `# %% [output]` for a stream and `# %% [output html]` for a table.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from grader.errors import GraderError
from tests.proof.validity.corpus import Base, CaseKind, CorpusCase
from tests.proof.validity.requirements import find_blocked

MARK: Final = "# %%"
NOTHING_SHARED: Final = Base({})  # a whole notebook departs from the reference with its first cell


def read_habits(folder: Path) -> tuple[CorpusCase, ...]:
    """The notebooks in `folder` with the verdicts that its table expects. Raises GraderError when they do not fit."""
    try:
        entries = tomllib.loads((folder / "habits.toml").read_text(encoding="utf-8"))["habit"]
        return tuple(_build_case(folder, entry) for entry in entries)
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise GraderError(f"{folder} is not a table of habits with its notebooks ({error}); mend it.") from error


def _build_case(folder: Path, entry: dict[str, object]) -> CorpusCase:
    notebook = read_text(folder / f"{entry['id']}.txt")
    failed, blocked = (entry.get(name, ()) for name in ("failed", "blocked"))
    return CorpusCase(
        id=str(entry["id"]),
        kind=CaseKind.VARIANT,
        words=str(entry["words"]),
        seen=False,
        cells=tuple(cell.source for cell in notebook.cells if cell.cell_type == "code"),
        departs=0,
        failed=frozenset(failed),  # type: ignore[call-overload]
        blocked=find_blocked(failed, blocked),  # type: ignore[arg-type]
    )


def read_text(path: Path) -> NotebookNode:
    """The notebook (nbformat 4) that a text stands for, saved outputs included."""
    notebook = new_notebook()
    for kind, text in _parts(path.read_text(encoding="utf-8")):
        if kind == "":
            notebook.cells.append(new_code_cell(text))
        elif kind == "[markdown]":
            notebook.cells.append(new_markdown_cell(text))
        else:
            notebook.cells[-1].outputs.append(_output(kind, text))
    return notebook


def _parts(text: str) -> Iterator[tuple[str, str]]:
    for part in f"\n{text}".split(f"\n{MARK}")[1:]:
        kind, _, body = part.partition("\n")
        yield kind.strip(), body.strip("\n")


def _output(kind: str, text: str) -> NotebookNode:
    if kind == "[output]":
        return new_output("stream", name="stdout", text=f"{text}\n")
    if kind == "[output html]":
        return new_output("display_data", data={"text/html": text, "text/plain": "<IPython.core.display.HTML object>"})
    raise GraderError(
        f"A cell cannot be of the kind {kind!r}; write '# %%', '[markdown]', '[output]' or '[output html]'."
    )
