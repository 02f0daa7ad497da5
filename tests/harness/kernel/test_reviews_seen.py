"""Which of several data sets is said to be the one that a model was judged on."""

from typing import Any

import pytest

from grader.kernel.training.review_keys import find_least_shared
from grader.protocol.records import RowKeys


def seen(*keys: str) -> RowKeys:
    return RowKeys(len(keys), "tokens", keys)


LEARNED = seen("a", "b", "c", "d")
SAME, HALF, OTHER, EMPTY = seen("a", "b"), seen("a", "x"), seen("x", "y", "z"), seen()

SEVERAL = [
    pytest.param([SAME, OTHER], LEARNED, OTHER, id="the training reviews first"),
    pytest.param([OTHER, SAME], LEARNED, OTHER, id="the training reviews last"),
    pytest.param([SAME, HALF], LEARNED, HALF, id="one in part"),
    pytest.param([SAME], LEARNED, SAME, id="nothing else"),
    pytest.param([OTHER, seen("u", "v")], LEARNED, OTHER, id="the first of equals"),
    pytest.param([SAME, OTHER], None, SAME, id="training unreadable"),
    pytest.param([None, SAME, EMPTY], LEARNED, SAME, id="others unreadable or empty"),
    pytest.param([None, EMPTY], LEARNED, None, id="none readable"),
]


@pytest.mark.parametrize(("found", "learned", "expected"), SEVERAL)
def test_the_fairest_counts(found: list[Any], learned: Any, expected: Any) -> None:
    assert find_least_shared(found, learned) is expected
