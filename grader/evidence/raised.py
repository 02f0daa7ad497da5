"""Errors of a student's code, in the form in which a student may read them."""

import re
from typing import Final

from grader.protocol.records import Raised

DECIMALS: Final = re.compile(r"(?P<heading>\bStep [0-9]\.[0-9])\b|-?[0-9]*\.[0-9]+(?:[eE][-+]?[0-9]+)?")
FEW_NUMBERS: Final = re.compile(r"(?:[^0-9]*[0-9]+){0,8}[^0-9]*", re.DOTALL)  # shapes of two tensors and more


def describe_error(raised: Raised | None) -> str:
    """As Python shows it, without decimals and beyond a few numbers: what a probe asked is not told this way.

    The template's own "Step 1.3" stays.
    """
    if raised is None:
        return "no error"
    message = FEW_NUMBERS.match(DECIMALS.sub(lambda found: found["heading"] or "…", raised.message))
    cut = message[0] if message else ""
    return f"{raised.type}: {cut}" if cut else raised.type
