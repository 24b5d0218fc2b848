"""Looks at what may have changed, such as files, in a thread of their own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

STOP_S = 5.0
"""Longest wait for a look under way."""


class Looks:
    """Calls ``look`` every ``interval_s`` seconds, until ``close``. ``name`` says what it looks at,
    in logs."""

    def __init__(self, look: Callable[[], None], interval_s: float, name: str) -> None:
        self._look = look
        self._interval_s = interval_s
        self._name = name
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(STOP_S)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            try:
                self._look()
            except Exception:
                # The thread must go on after a defect, or no later change would take effect.
                log.exception("%s: looking for changes failed", self._name)
