"""A person's request, kept in the class's folder, so that judging again needs only the name of that folder.

What the files of policy, overrides and times say is kept as decisions (`batch/decisions.py`); the request that is saved
names them no longer. Those of classes that an older version graded still do.
"""

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from grader.batch.digests import digest_execution
from grader.batch.messages import RunSettings
from grader.batch.store import write
from grader.challenges import choose_seed
from grader.errors import GraderError
from grader.intake.uploads import Intake
from grader.model import FrozenModel
from grader.paths import ROOT
from grader.reporting.sanitisation import sanitise_line

NAME: Final = "batch.json"
CODE_CHARS: Final = 8  # of a digest, as notes name a version
# The first two are remembered as they are; the others become decisions.
FILES: Final = ("gradebook", "assignment", "policy", "overrides", "times", "groups")


class UsedReviews(FrozenModel):
    """The reviews of a class: the name of their source, and the hash of their files."""

    name: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} ({self.sha256[:12]})"


class BatchRequest(RunSettings):
    """One batch as a person asks for it. Paths are absolute."""

    source: Path  # the archive or folder with submissions
    gradebook: Path | None = None  # the teacher's export: who is in the class, and the file to fill
    assignment: str | None = None  # its id or title in the export, where more than one fits
    policy: Path | None = None
    overrides: Path | None = None
    times: Path | None = None  # when everybody handed in
    groups: Path | None = None  # who hands in together
    reviews: UsedReviews | None = None  # None in classes of older versions

    def inherit(self, saved: "BatchRequest") -> "BatchRequest":
        """Return the request with the files of an earlier one where this one names none."""
        return self.model_copy(update={n: getattr(saved, n) for n in FILES if getattr(self, n) is None})

    @property
    def settled(self) -> "BatchRequest":
        """The request once its decisions are recorded."""
        return self.model_copy(update=dict.fromkeys(FILES[2:]))


class SavedBatch(FrozenModel):
    """A request and what its source holds."""

    request: BatchRequest
    intake: Intake


def choose_class_seed(folder: Path, given: int | None) -> int:
    """Return the seed of a class: the given one, else that of its last batch, else a secret one."""
    if given is None and (folder / NAME).is_file():
        return load_batch(folder).request.seed
    return choose_seed(given)


def save_batch(request: BatchRequest, intake: Intake) -> None:
    """Write both to the class's folder. Raises OSError."""
    write(request.folder / NAME, SavedBatch(request=request, intake=intake).model_dump_json(indent=1).encode())


def load_batch(folder: Path) -> SavedBatch:
    """Read what the last batch in a folder was about, wherever the folder lies now. Raises GraderError."""
    try:
        content = (folder / NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise GraderError(f"{folder} holds no class that was graded; grade one with `make batch`.") from error
    except OSError as error:
        raise GraderError(f"Cannot read {folder / NAME} ({error.strerror}); check whether you may.") from error
    try:
        saved = SavedBatch.model_validate_json(content)
    except ValidationError as error:
        raise GraderError(_describe_unreadable(folder / NAME, error)) from error
    return saved.model_copy(update={"request": saved.request.model_copy(update={"folder": folder})})


def _describe_unreadable(path: Path, error: ValidationError) -> str:
    """Say where a file differs from what this version reads, and what to do: an unknown field is newer."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    place = ".".join(str(part) for part in found[0]["loc"])
    what = sanitise_line(f"{place}: {found[0]['msg']}" if place else found[0]["msg"], 200)
    is_newer = all(one["type"] == "extra_forbidden" for one in found)
    way = "A newer version wrote it: update this checkout" if is_newer else "It is damaged: put it back from a copy"
    version = digest_execution(ROOT)[:CODE_CHARS]
    return f"{path} holds a class, and this version of the grader ({version}) cannot read it ({what}). {way}."
