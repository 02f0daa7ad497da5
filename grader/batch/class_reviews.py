"""A class is judged on the reviews that it was graded on, whatever a later shell finds.

Students of one class are compared with each other: thresholds of accuracy and the reviews that a training may not see
depend on the reviews. They come from the environment, which the next shell may not have; so the class remembers them.
"""

from collections.abc import Mapping
from typing import Final

from grader.assets.reviews import Source
from grader.batch import history
from grader.batch.request import BatchRequest, UsedReviews
from grader.errors import GraderError

UNKNOWN: Final = "It was not recorded on which reviews this class was graded; from now on it stays with {}."
HINTS: Final[Mapping[str, str]] = {
    Source.GIVEN: "Name their folder in this shell and repeat the command: `export A4_DATA=folder`.",
    Source.IMDB: "Put them back into data/imdb, `unset A4_DATA`, and repeat the command.",
    Source.SYNTHETIC: "`unset A4_DATA`, and repeat the command without reviews in data/imdb.",
}
FRESH: Final = "To grade the class on the others, give `make batch` a fresh folder: OUT=folder (--out)."


def choose_reviews(known: BatchRequest | None, found: UsedReviews) -> tuple[UsedReviews, str]:
    """Return the reviews to grade a class on, and a note for staff; raise GraderError if they are not those of before.

    Args:
        known: the last request of the class; None for a new one.
        found: the reviews that this shell finds.
    """
    if known is None or not is_begun(known):
        return found, ""
    if known.reviews is None:
        return found, UNKNOWN.format(found)
    if known.reviews.sha256 != found.sha256:
        raise GraderError(
            f"This class was graded on {known.reviews}, and this shell finds {found}; nothing was executed or judged. "
            f"{HINTS.get(known.reviews.name, HINTS[Source.GIVEN])} {FRESH}"
        )
    return known.reviews, ""


def is_begun(request: BatchRequest) -> bool:
    """Return True if anything was graded: a batch that was stopped before binds nobody to its reviews."""
    return any(request.submissions.glob(f"*/{history.NAME}"))
