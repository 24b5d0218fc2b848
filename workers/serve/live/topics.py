"""What the live view reads of the stream, as a protocol. ``pipeline.adapters.kafka.watching``
implements it over Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from pipeline.records import Record
from pipeline.replay import Found, Search

LookBack = tuple[bool, Iterator[Iterator[list[Record]]]]
"""Whether all records of the time are read, and windows of them. Each window is older than the one
before. Within a window, the records of a partition are in order."""


class Tail(Protocol):
    """The end of the output topics. Belongs to one thread."""

    def poll(self, timeout_s: float) -> Sequence[Record]:
        """Classifications and dead letters that have become visible since the last poll. Waits up
        to ``timeout_s`` for the first one.

        Raises:
            Retry: the broker does not answer.
            Halt: not allowed.
        """


class Topics(Protocol):
    """The topics of one stream. Every call blocks, and may be made from any thread.

    Raises:
        Retry: the broker does not answer.
        Halt: not allowed, or a topic is missing.
    """

    def tail(self, newest: int) -> AbstractContextManager[Tail]:
        """Begin to read: some ``newest`` records that are there, and all that follow."""

    def lag(self) -> int:
        """Records of the input topics that the stream has not committed."""

    def newest_letters(self, since_ms: int, most: int) -> AbstractContextManager[LookBack]:
        """Records of the dead-letter topic, newest first. None is older than ``since_ms``, and
        there are at most ``most``."""

    def find(self, search: Search, told: Callable[[int], object]) -> Found:
        """Dead letters to replay. ``told`` hears how many records were read, and may raise."""

    def replay(self, search: Search, told: Callable[[int], object]) -> tuple[int, Found]:
        """Find dead letters and send them back, exactly once. Returns how many were sent."""
