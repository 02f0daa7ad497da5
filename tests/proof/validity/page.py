"""The matrix as one inert HTML page: no script, nothing fetched, every text escaped."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import FileSystemLoader
from markupsafe import Markup

from grader.reporting.page import build_csp, build_engine
from tests.proof.validity.corpus import CorpusCase
from tests.proof.validity.figures import Matrix, get_letter

FOLDER = Path(__file__).parent


def render_page(matrix: Matrix, further: Sequence[tuple[str, str]] = (), notebooks: Sequence[CorpusCase] = ()) -> str:
    """The page as text. `further`: figures beside those of the matrix, with their names."""
    figures = (*matrix.summary(), *further)
    css = (FOLDER / "matrix.css").read_text(encoding="utf-8").replace("\r\n", "\n")
    return (
        build_engine(FileSystemLoader(FOLDER))
        .get_template("matrix.html")
        .render(
            matrix=matrix, figures=figures, notebooks=notebooks, letter=get_letter, css=Markup(css), csp=build_csp(css)
        )
    )
