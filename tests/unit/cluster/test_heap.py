"""What the cycle collector looks at in a worker."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from workers.cluster import heap


class Node:
    """Holds itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def _collector_as_before() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


@pytest.mark.usefixtures("_collector_as_before")
def test_what_is_loaded_is_set_aside_and_cycles_made_later_are_still_collected() -> None:
    heap.freeze()
    assert gc.get_freeze_count() > 10_000
    later = weakref.ref(Node())
    gc.collect()
    assert later() is None


@pytest.mark.usefixtures("_collector_as_before")
def test_the_collector_looks_at_new_objects_by_the_thousands_only() -> None:
    heap.freeze()
    assert gc.get_threshold()[0] == heap.YOUNG_OBJECTS
    assert gc.isenabled()
