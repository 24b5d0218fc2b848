"""Names the steps of a worker at which a chaos run makes something fail. A worker stops there."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from multiprocessing.connection import Connection


class Step(StrEnum):
    """In the order of a reference's life; each is reached before it is done."""

    POLL = "poll"
    ADMIT = "admit"
    FETCH = "fetch"
    DECODE = "decode"
    ENCODE = "encode"
    BEGIN = "begin"
    SEND = "send"
    FLUSH = "flush"
    SEND_OFFSETS = "send_offsets"
    COMMIT = "commit"
    PRUNE = "prune"
    REVOKE = "revoke"


class Steps:
    """In a worker's process: stops at a chosen occurrence of a step until the harness has done
    what it wants there. Each choice is met once."""

    def __init__(self, link: Connection, chosen: Mapping[Step, int]) -> None:
        self._link = link
        self._chosen = dict(chosen)
        self._reached: Counter[Step] = Counter()
        self._counting = threading.Lock()
        # The harness answers one step at a time.
        self._asking = threading.Lock()

    def reach(self, step: Step) -> None:
        with self._counting:
            self._reached[step] += 1
            if self._chosen.get(step) != self._reached[step]:
                return
        with self._asking:
            self._link.send(step)
            self._link.recv()
