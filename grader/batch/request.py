"""What a person asked for: remembered in the class's folder, so that judging again needs no more than its name."""

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from grader.batch.store import write
from grader.errors import GraderError
from grader.intake.uploads import Intake
from grader.model import FrozenModel, Precision, Profile

NAME: Final = "batch.json"


class BatchRequest(FrozenModel):
    """One batch as asked for. Paths are absolute."""

    source: Path  # the archive or folder with submissions
    folder: Path  # results of the class
    profile: Profile = Profile.QUICK
    seed: int = 0
    precision: Precision = Precision.AUTO
    cell_s: float = 1800
    run_s: float = 3600
    sandboxed: bool = True
    keep_weights: bool = False
    gradebook: Path | None = None  # the teacher's export: who is in the class, and the file to fill
    assignment: str | None = None  # its id or title in the export, where more than one fits
    policy: Path | None = None
    overrides: Path | None = None
    times: Path | None = None  # when everybody handed in


class SavedBatch(FrozenModel):
    """A request and what it found in its source."""

    request: BatchRequest
    intake: Intake


def save_batch(request: BatchRequest, intake: Intake) -> None:
    """Write both down. Raises OSError."""
    write(request.folder / NAME, SavedBatch(request=request, intake=intake).model_dump_json(indent=1).encode())


def load_batch(folder: Path) -> SavedBatch:
    """What the last batch in a folder was about. Raises GraderError."""
    try:
        return SavedBatch.model_validate_json((folder / NAME).read_bytes())
    except (OSError, ValidationError) as error:
        raise GraderError(f"{folder} holds no class that was graded; grade one with `make batch`.") from error
