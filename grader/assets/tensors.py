"""Files of tensors, written so that a refusal of the file system is the exception that it is everywhere else."""

import os
import re
from collections.abc import Callable
from typing import Final

from safetensors import SafetensorError

NUMBER: Final = re.compile(r"\(os error (\d+)\)")  # how Rust ends what the system said


def write(save: Callable[[], object]) -> None:
    """Call a function of safetensors that writes a file. Raises OSError, not SafetensorError, for a full disk."""
    try:
        save()
    except SafetensorError as error:
        found = NUMBER.search(str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error
