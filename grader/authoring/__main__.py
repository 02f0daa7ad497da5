"""Write what students get (`make template`, `make kit`) and what the stand-in model is made of (`tilt`)."""

from pathlib import Path
from typing import Annotated, Final

import typer

from grader.assets.standin import TILT
from grader.authoring.course import fill_notebook, read_course
from grader.authoring.kit import build_kit
from grader.authoring.template import derive_template, format_notebook, read_notebook
from grader.errors import GraderError
from grader.paths import REFERENCE, ROOT, TEMPLATE

KIT: Final = ROOT / "dist" / "finetuning-kit.zip"

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@app.command()
def template(out: Annotated[Path, typer.Argument(help="The notebook to write.")] = TEMPLATE) -> None:
    """Write the notebook that students start from."""
    _write_template(out)
    typer.echo(f"Wrote {out}.")


@app.command()
def kit(out: Annotated[Path, typer.Argument(help="The zip file to write.")] = KIT) -> None:
    """Write the zip that students get, with the notebook that the reference gives today."""
    _write_template(TEMPLATE)
    names = build_kit(ROOT, out)
    typer.echo(f"Wrote {out} with {len(names)} files.")


@app.command()
def tilt(
    reviews: Annotated[Path, typer.Argument(help="CSV file of reviews that occur nowhere in grading.")],
    out: Annotated[Path, typer.Argument(help="The file to write.")] = TILT,
) -> None:
    """Train the tilt of the stand-in model again (minutes)."""
    from grader.authoring.tilt import make_tilt  # transformers takes seconds to import

    typer.echo(f"Wrote {out}: SHA-256 {make_tilt(reviews, out, typer.echo)}.")


def _write_template(out: Path) -> None:
    template = derive_template(read_notebook(REFERENCE))
    text = format_notebook(fill_notebook(template, read_course(ROOT)))
    try:
        out.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise GraderError(f"Cannot write {out}: {error.strerror}; name another file.") from error


def main() -> None:
    """Run a command; a fault of the set-up becomes one sentence and exit code 2."""
    try:
        app()
    except GraderError as error:
        typer.echo(str(error), err=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
