"""Files of tensors, written so that a refusal of the file system raises OSError, as it does everywhere else."""

import os
import re
from collections.abc import Callable
from typing import Final

from safetensors import SafetensorError

NUMBER: Final = re.compile(r"\(os error (\d+)\)")  # at the end of the system's message, as Rust writes it


def write(save: Callable[[], object]) -> None:
    """Call a function of safetensors that writes a file. Raises OSError, not SafetensorError, for a full disk."""
    try:
        save()
    except SafetensorError as error:
        if not (found := NUMBER.search(str(error))):
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error
