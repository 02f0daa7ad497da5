"""The page that all HTML reports share: one template engine, one style sheet, one policy.

Nothing in a page can run or fetch. Autoescaping turns markup into text, `finalize` passes every value that a template
prints through `sanitise_text`, and the Content-Security-Policy allows only the style sheet, named by its hash: even
markup that slipped through could neither run a script nor load a picture. The class dashboard has one script, for
sorting and filtering, which is named by its hash too.
"""

import base64
import hashlib
from functools import cache
from typing import Any, Final

from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from grader.reporting import words
from grader.reporting.outline import list_measurements
from grader.reporting.sanitisation import mark_code, sanitise_line, sanitise_text

LOADER: Final = PackageLoader("grader.reporting")


def render(template: str, *, styles: tuple[str, ...] = ("style.css",), script: str = "", **values: object) -> str:
    """Render a template of this package. The text ends with a newline and encodes as UTF-8 whatever the values hold.

    `styles` and `script` name files beside the templates; without `script`, nothing in the page can run.
    """
    css = "".join(map(read_asset, styles))
    javascript = read_asset(script) if script else ""
    return (
        _build_engine()
        .get_template(template)
        .render(
            css=Markup(css),  # the grader's own file, without a value in it
            javascript=Markup(javascript),  # the same
            csp=_build_csp(css, javascript),
            words=words,
            **values,
        )
    )


def _build_csp(css: str, javascript: str) -> str:
    """Build the Content-Security-Policy of a page with this style sheet and, if any, this script: nothing else."""
    scripts = f" script-src '{_digest(javascript)}';" if javascript else ""
    # data: images are allowed for the empty icon, which keeps browsers from asking a server for /favicon.ico.
    return (
        f"default-src 'none'; style-src '{_digest(css)}';{scripts} img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def read_asset(name: str) -> str:
    """Read a file beside the templates."""
    source, _, _ = LOADER.get_source(_build_engine(), name)
    return source.replace("\r\n", "\n")  # a browser hashes what it parsed, and parsing removes carriage returns


@cache
def _build_engine() -> Environment:
    return build_engine(LOADER)


def build_engine(loader: BaseLoader) -> Environment:
    """Build a template engine in whose pages values are only ever text."""
    engine = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    engine.filters.update(
        points=words.format_points,
        signed=words.format_signed,
        count=words.format_count,
        percent=words.format_percent,
        seconds=words.format_seconds,
        measurements=list_measurements,
        line=sanitise_line,
        code=_mark_code,
    )
    return engine


def _mark_code(text: str) -> Markup:
    return Markup(mark_code(str(escape(sanitise_text(text)))))  # all of it is escaped before


def _finalize(value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    return "" if value is None else sanitise_text(str(value))
