"""When to repeat a message about something that has not changed."""

from __future__ import annotations

from pipeline.ports import Clock


class Reminder:
    """Repeats at growing intervals."""

    def __init__(self, clock: Clock, first_s: float, longest_s: float) -> None:
        self._clock = clock
        self._wait_s, self._longest_s = first_s, longest_s
        self._at = clock.monotonic() + first_s

    def due(self) -> bool:
        """Whether it is time to repeat. A second call right after returns False."""
        now = self._clock.monotonic()
        if now < self._at:
            return False
        self._wait_s = min(2 * self._wait_s, self._longest_s)
        self._at = now + self._wait_s
        return True
