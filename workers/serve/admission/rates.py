"""How many images a second a key may ask for: GCRA, the leaky bucket that keeps one number a key.

The number is the time at which the key's bucket is full again. An image moves that time by
1 ÷ rate. A key may be ahead of now by ``burst`` images at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.ports import Clock
from workers.serve.errors import ApiError


@dataclass(frozen=True, slots=True)
class Rate:
    """``images_per_s`` on average, and ``burst`` images at once."""

    images_per_s: float
    burst: int


class Rates:
    """The balance of every caller that has a rate, by name. Belongs to one event loop.

    Two keys of the same name share one balance. ``replicas`` says how many replicas share the rate:
    each of them grants its part.
    """

    def __init__(self, clock: Clock, replicas: Callable[[], int] = lambda: 1) -> None:
        self._clock = clock
        self._replicas = replicas
        self._full_s: dict[str, float] = {}

    def admit(self, name: str, rate: Rate) -> None:
        """Charge the first image of a request, before the request is read.

        Raises:
            ApiError: 429: the key has no image left.
        """
        interval_s, burst_s = self._of(rate)
        now_s = self._clock.monotonic()
        full_s = max(self._full_s.get(name, 0.0), now_s) + interval_s
        if full_s - now_s > burst_s + 1e-9:
            raise _exceeded(rate, full_s - now_s - burst_s)
        self._full_s[name] = full_s

    def charge(self, name: str, rate: Rate, images: int) -> None:
        """Charge the images of a request beyond the first one, which ``admit`` has charged.

        The balance may fall below zero by one burst. A key whose bucket was full before the request
        may ask for any number, or it could never ask for more than two bursts.

        Raises:
            ApiError: 429: the key has too few images left. None is charged.
        """
        if images <= 0:
            return
        interval_s, burst_s = self._of(rate)
        now_s = self._clock.monotonic()
        before_s = max(self._full_s.get(name, 0.0), now_s)
        full_s = before_s + images * interval_s
        excess_s = full_s - now_s - 2 * burst_s
        was_full = before_s - now_s <= interval_s + 1e-9
        if excess_s > 1e-9 and not was_full:
            raise _exceeded(rate, min(excess_s, before_s - now_s))
        self._full_s[name] = full_s

    def headers(self, name: str, rate: Rate) -> list[tuple[bytes, bytes]]:
        """The balance, in the headers of OpenAI. The unit is images."""
        interval_s, burst_s = self._of(rate)
        ahead_s = max(0.0, self._full_s.get(name, 0.0) - self._clock.monotonic())
        left = max(0, math.floor((burst_s - ahead_s) / interval_s + 1e-6))
        return [
            (b"x-ratelimit-limit-requests", b"%d" % round(burst_s / interval_s)),
            (b"x-ratelimit-remaining-requests", b"%d" % left),
            (b"x-ratelimit-reset-requests", f"{ahead_s:.3f}s".encode()),
        ]

    def _of(self, rate: Rate) -> tuple[float, float]:
        """Seconds between two images, and seconds that a key may be ahead, in this replica."""
        replicas = max(1, self._replicas())
        interval_s = replicas / rate.images_per_s
        return interval_s, interval_s * max(1, math.ceil(rate.burst / replicas))


def _exceeded(rate: Rate, wait_s: float) -> ApiError:
    return ApiError(
        429,
        "rate_limit_exceeded",
        f"the key may ask for {rate.images_per_s:g} images a second, {rate.burst} at once; "
        f"try again in {wait_s:.2f} s",
        retry_after_s=wait_s,
    )
