"""Files of tensors, written so that a refusal of the file system raises OSError, as it does everywhere else."""

import os
import re
from collections.abc import Callable

from safetensors import SafetensorError


def write(save: Callable[[], object]) -> None:
    """Call a function of safetensors that writes a file. Raises OSError, not SafetensorError, for a full disk."""
    try:
        save()
    except SafetensorError as error:
        if not (found := re.search(r"\(os error (\d+)\)", str(error))):  # as Rust writes it, after the message
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error
