"""Where the logs of a member's partitions end, even while nothing is fetched from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import OffsetSpec

INTERVAL_S = 2.0
"""Seconds between two questions for the ends of partitions that are not fetched."""


class LogEnds:
    """The latest known ends of assigned partitions.

    The client learns an end with each fetch. It fetches nothing from a partition that is paused, or
    whose records it still holds. For those partitions, the leaders are asked every ``INTERVAL_S``,
    one request for each leader. A leader that has not answered yet is not asked again; its
    partitions keep the last known ends.

    Nothing here blocks: the client's I/O thread asks, and takes the answers when they come.
    """

    def __init__(
        self, consumer: KafkaConsumer, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._consumer = consumer
        self._monotonic = monotonic
        self._due_at = monotonic()
        self._unanswered: set[int] = set()
        self._told: dict[TopicPartition, int] = {}

    def of(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The ends of assigned partitions. Partitions without a known end are left out."""
        ends = {}
        for tp in partitions:
            # A log's end only grows. An answer leaves open transactions out, a fetch does not.
            heard = (self._consumer.highwater(tp), self._told.get(tp))
            known = [end for end in heard if end is not None]
            if known:
                ends[tp] = max(known)
        return ends

    def forget(self, tp: TopicPartition) -> None:
        """The partition has a new owner, or was assigned again."""
        self._told.pop(tp, None)

    def ask_when_due(self) -> None:
        now = self._monotonic()
        assigned = self._consumer.assignment()
        if now < self._due_at or not assigned:
            return
        self._due_at = now + INTERVAL_S
        fetcher, manager = self._consumer._fetcher, self._consumer._manager
        idle = assigned.difference(fetcher._fetchable_partitions())
        # Not the client's `end_offsets`, which blocks, and fails for all partitions if one leader
        # is missing.
        by_leader = fetcher._group_list_offset_requests(dict.fromkeys(idle, OffsetSpec.LATEST))
        for leader, asked in by_leader.items():
            if leader in self._unanswered:
                continue
            self._unanswered.add(leader)
            answer = manager.call_soon(fetcher._send_list_offsets_request, leader, asked)
            answer.add_callback(self._take, leader)
            answer.add_errback(self._fail, leader)

    # -- on the I/O thread ------------------------------------------------------------------

    def _take(self, leader: int, answer: tuple[Mapping[TopicPartition, Any], object]) -> None:
        self._unanswered.discard(leader)
        self._told.update({tp: told.offset for tp, told in answer[0].items()})

    def _fail(self, leader: int, error: BaseException) -> None:
        self._unanswered.discard(leader)
