"""A short key for each review, so that the host can tell which file a training read."""

import hashlib
import re
from itertools import islice

TEXT_CHARACTERS = 60
TOKENS = 24  # at 16, one synthetic review in twelve begins like another
SPECIAL_TOKENS = frozenset((0, 101, 102))  # [PAD] [CLS] [SEP] of the uncased vocabulary


def make_text_key(text: str) -> str:
    """Compute a key of a review that survives lower-casing, stripped HTML and collapsed spaces."""
    plain = re.sub(r"[^a-z0-9]+", "", re.sub(r"<[^>]*>", " ", text[:1000].lower()))
    return hashlib.sha256(plain[:TEXT_CHARACTERS].encode()).hexdigest()[:12]


def make_token_key(ids: list[int]) -> str:
    """Compute a key of a tokenised review that survives truncation and padding."""
    first = list(islice((int(i) for i in ids if int(i) not in SPECIAL_TOKENS), TOKENS))
    return hashlib.sha256(repr(first).encode()).hexdigest()[:12]
