"""Whole notebooks as students write them, kept as text so that they can be read and compared line by line.

A cell begins with a line `# %%`, a text cell with `# %% [markdown]`. What a cell has saved as its output follows it,
under `# %% [output]` for a stream and `# %% [output html]` for a table.
"""

from pathlib import Path
from typing import Final

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from grader.errors import GraderError
from tests.proof.validity.corpus import Base, CaseKind, CorpusCase, build_case, read_table

MARK: Final = "# %%"
CELLS: Final = {"": new_code_cell, "[markdown]": new_markdown_cell}
NOTHING_SHARED: Final = Base({})  # a whole notebook departs from the reference with its first cell


def read_habits(folder: Path) -> tuple[CorpusCase, ...]:
    """The notebooks in `folder` with the verdicts that its table expects. Raises GraderError when they do not fit."""
    found = []
    try:
        for entry in read_table(folder / "habits.toml", "habit"):
            cells = read_text(folder / f"{entry['id']}.txt").cells
            sources = [cell.source for cell in cells if cell.cell_type == "code"]
            found.append(build_case(entry, CaseKind.VARIANT, sources, departs=0))
    except (OSError, KeyError) as error:
        raise GraderError(f"{folder} is not a table of habits with its notebooks ({error}); mend it.") from error
    return tuple(found)


def read_text(path: Path) -> NotebookNode:
    """The notebook (nbformat 4) that a text stands for, saved outputs included."""
    notebook = new_notebook()
    for part in f"\n{path.read_text(encoding='utf-8')}".split(f"\n{MARK}")[1:]:
        kind, _, body = part.partition("\n")
        kind, text = kind.strip(), body.strip("\n")
        if kind in CELLS:
            notebook.cells.append(CELLS[kind](text))
        elif kind == "[output]":
            notebook.cells[-1].outputs.append(new_output("stream", name="stdout", text=f"{text}\n"))
        elif kind == "[output html]":
            table = {"text/html": text, "text/plain": "<IPython.core.display.HTML object>"}
            notebook.cells[-1].outputs.append(new_output("display_data", data=table))
        else:
            kinds = "write '# %%', '[markdown]', '[output]' or '[output html]'"
            raise GraderError(f"A cell cannot be of the kind {kind!r}; {kinds}.")
    return notebook
