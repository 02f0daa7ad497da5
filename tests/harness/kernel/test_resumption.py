"""Trainings that would go on from a checkpoint which is not here start at the beginning."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from grader.kernel.compat import resumption

WANTED = [
    pytest.param(True, None, None, id="the last one, and there is none"),
    pytest.param("/content/drive/MyDrive/out/checkpoint-500", None, None, id="a folder of another machine"),
    pytest.param(None, True, None, id="by the arguments"),
    pytest.param(True, "checkpoint-2", True, id="the last one, which is there"),
    pytest.param(None, None, None, id="nothing"),
    pytest.param(False, None, False, id="no"),
]


@pytest.mark.parametrize(("given", "other", "expected"), WANTED)
def test_a_training_goes_on_where_there_is_a_checkpoint(tmp_path: Path, given: Any, other: Any, expected: Any) -> None:
    if isinstance(other, str):
        (tmp_path / other).mkdir()
    args = SimpleNamespace(output_dir=str(tmp_path), resume_from_checkpoint=None if isinstance(other, str) else other)
    trainer = SimpleNamespace(args=args)
    assert resumption._train(lambda trainer, resume: resume, trainer, given) == expected
    assert not args.resume_from_checkpoint
