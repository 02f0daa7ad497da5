"""Trainings that go on from a checkpoint, which lies on the machine that was disconnected: here they start over."""

from typing import Any

import transformers
from transformers.trainer_utils import get_last_checkpoint

from grader.kernel.compat.files import exists
from grader.kernel.wrapping import wrap


def start_over() -> None:
    """Have `train(resume_from_checkpoint=...)` train from the beginning where there is no checkpoint."""
    wrap(transformers.Trainer, "train", _train)


def _train(original: Any, self: Any, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Train. What the arguments of the training say counts where the call says nothing, as in transformers."""
    wanted = resume_from_checkpoint or self.args.resume_from_checkpoint
    if wanted and not has_checkpoint(wanted, self.args.output_dir):
        print("[grading] there is no checkpoint on this machine; the training starts at the beginning")
        resume_from_checkpoint = self.args.resume_from_checkpoint = None
    return original(self, resume_from_checkpoint, *args, **kwargs)


def has_checkpoint(wanted: Any, folder: str) -> bool:
    """Return True if the checkpoint is there: at a path, or (True) the last one in the training's folder."""
    if wanted is True or wanted == "True":
        return exists(folder) and get_last_checkpoint(folder) is not None
    return exists(wanted)
