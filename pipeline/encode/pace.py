"""How fast the device finishes images, and thus how long the waiting images will take."""

from __future__ import annotations

from collections import deque

REMEMBERED_BATCHES = 16
"""Batches that the rate is measured over. Batches of a minute ago may have been small because few
images arrived."""

UNMEASURED_WAIT_S = 1.0
"""Wait that is reported before the first batch has finished."""


class Pace:
    """The rate of finished images, measured over the last ``REMEMBERED_BATCHES`` batches.

    The rate is images ÷ seconds in which the device had at least one batch. Idle time does not
    count, because a quiet hour would make the device look slow. Batches that are computed in
    parallel share their seconds.
    """

    def __init__(self) -> None:
        self._finished: deque[tuple[int, float]] = deque(maxlen=REMEMBERED_BATCHES)
        self._under_way = 0
        self._since_s = 0.0  # when the last batch finished, or the first one after it began

    def begin(self, now_s: float) -> None:
        """The device receives a batch."""
        if self._under_way == 0:
            self._since_s = now_s
        self._under_way += 1

    def finish(self, images: int, now_s: float) -> None:
        """The device has finished a batch of this many images."""
        self._under_way -= 1
        if images:
            self._finished.append((images, now_s - self._since_s))
        self._since_s = now_s

    def wait_s(self, waiting: int, now_s: float) -> float:
        """Seconds until the device has finished the images that wait now: ``waiting`` ÷ rate.

        The batch in progress counts with the time that it has taken so far, so the wait grows while
        the device hangs. ``UNMEASURED_WAIT_S`` before the first measurement.
        """
        images = sum(images for images, _ in self._finished)
        seconds = sum(seconds for _, seconds in self._finished)
        if self._under_way:
            seconds += now_s - self._since_s
        return waiting * seconds / images if images else UNMEASURED_WAIT_S
