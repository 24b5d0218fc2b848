"""The breaker under any order of attempts, results and time, against what it promises."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pipeline.retry import Breaker, BreakerPolicy, BreakerState, Permit

POLICY = BreakerPolicy(failures=3, open_s=4.0)

attempts = st.integers(min_value=0, max_value=30)


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(POLICY)
        self.now = 0.0
        self.under_way: list[Permit] = []
        self.probe: Permit | None = None
        self.last_probe_failed_at = float("-inf")

    @rule(seconds=st.sampled_from([0.5, 2.0, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def an_attempt_wants_to_begin(self) -> None:
        before = self.breaker.state
        permit = self.breaker.admit(self.now)
        if before is BreakerState.CLOSED:
            assert permit is not None
        elif before is BreakerState.HALF_OPEN:
            assert permit is None, "a second attempt went through a half-open breaker"
        elif permit is not None:
            assert self.now >= self.last_probe_failed_at + POLICY.open_s
            self.probe = permit
        if permit is not None:
            self.under_way.append(permit)

    @rule(which=attempts)
    def an_attempt_is_answered(self, which: int) -> None:
        if permit := self._take(which):
            before = self.breaker.state
            self.breaker.succeeded(permit)
            if permit == self.probe and before is BreakerState.HALF_OPEN:
                assert self.breaker.closed()
            else:
                assert self.breaker.state is before

    @rule(which=attempts, subject=st.sampled_from("abcd"))
    def an_attempt_fails(self, which: int, subject: str) -> None:
        if permit := self._take(which):
            before = self.breaker.state
            self.breaker.failed(permit, subject, self.now)
            if before is not BreakerState.OPEN and self.breaker.state is BreakerState.OPEN:
                self.last_probe_failed_at = self.now
            if before is BreakerState.OPEN:
                assert self.breaker.state is BreakerState.OPEN

    @rule(which=attempts)
    def an_attempt_is_abandoned(self, which: int) -> None:
        if permit := self._take(which):
            before = self.breaker.state
            self.breaker.abandoned(permit)
            assert not (before is not BreakerState.CLOSED and self.breaker.closed())

    @invariant()
    def an_open_breaker_lets_an_attempt_through_in_time(self) -> None:
        assert 0.0 <= self.breaker.asks_in_s(self.now) <= POLICY.open_s

    @invariant()
    def a_half_open_breaker_has_its_attempt_under_way(self) -> None:
        if self.breaker.state is BreakerState.HALF_OPEN:
            assert self.probe in self.under_way

    def _take(self, which: int) -> Permit | None:
        return self.under_way.pop(which % len(self.under_way)) if self.under_way else None


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
