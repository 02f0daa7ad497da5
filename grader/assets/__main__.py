"""Makes everything that grading needs, once; `make setup` runs it. Quick when it is already there."""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from grader.assets.cache import locate_cache
from grader.assets.hub import prepare_standin_checkpoint
from grader.assets.metrics import METRICS, prepare_metrics
from grader.assets.reviews import Source, download_reviews, locate, resolve_reviews
from grader.errors import GraderError
from grader.paths import ROOT


def prepare(root: Path, environ: Mapping[str, str], download: bool) -> Iterator[str]:
    """Make model, metrics and reviews, and yield a line on each. Raises GraderError."""
    cache_dir = locate_cache(root, environ)
    checkpoint = prepare_standin_checkpoint(cache_dir)
    yield f"model    {checkpoint.name} ({checkpoint.sha256[:12]})"
    prepare_metrics(cache_dir)
    yield f"metrics  {', '.join(METRICS)}"
    if download and locate(root, environ)[0] is Source.SYNTHETIC:
        download_reviews(root / "data" / "imdb")
    data = resolve_reviews(root, environ)
    yield f"reviews  {data.name} ({data.sha256[:12]}) {data.notes}".rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Return exit code 0, or 2 when something could not be made."""
    parser = argparse.ArgumentParser(prog=".venv/bin/python -m grader.assets", description=__doc__)
    parser.add_argument("command", choices=["prepare"])
    parser.add_argument("--download", action="store_true", help="download real reviews if this machine has none")
    options = parser.parse_args(arguments)
    try:
        for line in prepare(ROOT, os.environ, options.download):
            print(line)
    except GraderError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
