"""The matrix as one inert HTML page: no script, nothing fetched, every text escaped."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from grader.reporting.inert import inert_text
from grader.validation.corpus import Specimen
from grader.validation.figures import Matrix, letter

FOLDER = Path(__file__).parent


def page(matrix: Matrix, further: Sequence[tuple[str, str]] = (), notebooks: Sequence[Specimen] = ()) -> str:
    """The page as text. `further`: figures beside those of the matrix, with their names."""
    figures = (*matrix.summary(), *further)
    css = (FOLDER / "matrix.css").read_text(encoding="utf-8").replace("\r\n", "\n")
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("matrix.html").render(
        matrix=matrix, figures=figures, notebooks=notebooks, letter=letter, css=Markup(css), csp=_policy(css)
    )


def _policy(css: str) -> str:
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def _finalize(value: Any) -> Any:
    return value if isinstance(value, Markup) else inert_text(str(value))
