"""When to try again, and when to stop trying: backoff and the circuit breaker. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import Enum, auto
from typing import NewType

from pydantic import Field, model_validator

from pipeline.policy import Policy, Tier

_MAX_DOUBLINGS = 30
"""Keeps the power finite. No longest wait is a billion times the first."""


class RetryPolicy(Policy):
    """How long a failed attempt waits before the next one."""

    tier = Tier.EXPERT

    first_wait_s: float = Field(
        0.2,
        description="Longest wait after the first failure, in seconds. The bound doubles with "
        "each further failure.",
        gt=0,
    )
    longest_wait_s: float = Field(
        5.0,
        description="Longest wait after any failure, in seconds, unless the store asks for more.",
        gt=0,
    )

    @model_validator(mode="after")
    def _in_order(self) -> RetryPolicy:
        if self.longest_wait_s < self.first_wait_s:
            raise ValueError(
                f"longest_wait_s: is below first_wait_s ({self.longest_wait_s:g} against "
                f"{self.first_wait_s:g}); raise it, or lower first_wait_s"
            )
        return self


def wait_s(failures: int, policy: RetryPolicy, random: Callable[[], float]) -> float:
    """Seconds to wait after ``failures`` failures in a row (1 or more).

    The wait is drawn evenly from zero to a bound that doubles ("full jitter": M. Brooker,
    Exponential Backoff And Jitter, AWS Architecture Blog 2015). Clients that failed together then
    return more spread out than with any fixed part. ``random`` returns floats in [0, 1).
    """
    doublings = min(failures - 1, _MAX_DOUBLINGS)
    return random() * min(policy.longest_wait_s, policy.first_wait_s * 2.0**doublings)


class BreakerPolicy(Policy):
    """When the store counts as down."""

    tier = Tier.EXPERT

    failures: int = Field(
        5,
        description="Different objects that must fail, with none served in between, before the "
        "store is doubted. The worker then asks for an object that was read before, and the "
        "breaker opens if that request fails too. Bad objects alone never open the breaker, "
        "however many there are.",
        ge=1,
    )
    open_s: float = Field(
        5.0,
        description="Seconds between requests while the breaker is open: one request asks the "
        "store this long after the last one failed.",
        gt=0,
    )


class _State(Enum):
    CLOSED = auto()
    """Attempts go through."""
    OPEN = auto()
    """No attempt goes through until ``open_s`` have passed."""
    HALF_OPEN = auto()
    """One attempt went through, and its result decides."""


Permit = NewType("Permit", int)
"""Permission for one attempt. The permit names the breaker's state at that time. If the store has
gone down or come back since, the attempt's result is old news and is ignored."""


class Breaker:
    """A circuit breaker (M. Nygard, Release It!, 2007), as a pure state machine.

    Failures in a row do not open the breaker, because the objects themselves may be bad. Such
    failures make the store ``doubtful``; the caller then asks the store, and calls ``trip`` if it
    does not answer.

    Every permit is given back by exactly one of ``succeeded``, ``failed`` and ``abandoned``.
    """

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._state = _State.CLOSED
        self._period = 0
        self._failing: set[Hashable] = set()
        self._asks_at = 0.0

    def closed(self) -> bool:
        return self._state is _State.CLOSED

    @property
    def doubtful(self) -> bool:
        """Whether enough objects have failed in a row that the store should be asked."""
        return self.closed() and len(self._failing) >= self._policy.failures

    def admit(self, now: float) -> Permit | None:
        """Permission for one attempt at ``now`` (monotonic seconds), or None while the store is
        down."""
        if self._state is _State.OPEN and now >= self._asks_at:
            self._enter(_State.HALF_OPEN)
            return Permit(self._period)
        return Permit(self._period) if self.closed() else None

    def asks_in_s(self, now: float) -> float:
        """Seconds until an open breaker lets an attempt through; 0 in any other state."""
        return max(0.0, self._asks_at - now) if self._state is _State.OPEN else 0.0

    def succeeded(self, permit: Permit) -> None:
        """The store answered."""
        if permit != self._period:
            return
        self._failing.clear()
        if not self.closed():
            self._enter(_State.CLOSED)

    def failed(self, permit: Permit, subject: Hashable, now: float) -> None:
        """The attempt on ``subject`` failed for a reason that may lie with the store."""
        if permit != self._period:
            return
        if self.closed():
            self._failing.add(subject)
        else:
            self.trip(now)

    def abandoned(self, permit: Permit) -> None:
        """The attempt was given up without a result: the next one may ask at once."""
        if permit == self._period and not self.closed():
            self._enter(_State.OPEN)

    def trip(self, now: float) -> None:
        """The store is down: nothing goes through until ``open_s`` from ``now`` have passed."""
        self._failing.clear()
        self._asks_at = now + self._policy.open_s
        self._enter(_State.OPEN)

    def ask_at(self, now: float) -> None:
        """Let the next attempt through an open breaker from ``now`` on."""
        self._asks_at = now

    def _enter(self, state: _State) -> None:
        self._state = state
        self._period += 1
