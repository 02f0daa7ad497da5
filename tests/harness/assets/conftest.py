"""Prepared assets, made once for the tests in this folder and removed afterwards (they take 270 MB)."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from grader.assets.hub import Checkpoint, prepare_standin_checkpoint
from grader.assets.metrics import prepare_metrics


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder with the stand-in and the metrics. Not to be changed."""
    folder = tmp_path_factory.mktemp("cache")
    prepare_standin_checkpoint(folder)
    prepare_metrics(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def standin(prepared: Path) -> Checkpoint:
    return prepare_standin_checkpoint(prepared)
