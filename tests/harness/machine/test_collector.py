"""The garbage collector rests while libraries are loaded, and works again afterwards."""

import gc
from collections.abc import Iterator

import pytest

from grader.machine.collector import import_without_collecting


@pytest.fixture(autouse=True)
def thaw() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_nothing_is_collected_in_the_block() -> None:
    with import_without_collecting():
        assert not gc.isenabled()


def test_what_is_there_at_the_end_is_left_alone() -> None:
    with import_without_collecting():
        loaded = [[]]
    assert not any(found is loaded for found in gc.get_objects())


@pytest.mark.parametrize("error", [ImportError, KeyboardInterrupt])
def test_the_collector_works_again_after_an_error(error: type[BaseException]) -> None:
    with pytest.raises(error), import_without_collecting():
        raise error
    assert gc.isenabled()
