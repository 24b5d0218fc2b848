"""The breaker under any order of attempts, results and time, against what it promises."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pipeline.retry import Breaker, BreakerPolicy, Permit

POLICY = BreakerPolicy(failures=3, open_s=4.0)

attempts = st.integers(min_value=0, max_value=30)


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(POLICY)
        self.now = 0.0
        self.under_way: list[Permit] = []
        self.probe: Permit | None = None
        """The attempt that an open breaker let through, while it is under way."""
        self.opened_at = float("-inf")

    @rule(seconds=st.sampled_from([0.5, 2.0, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def an_attempt_wants_to_begin(self) -> None:
        was_closed = self.breaker.closed()
        permit = self.breaker.admit(self.now)
        if was_closed:
            assert permit is not None
        elif self.probe is not None:
            assert permit is None, "a second attempt went through a half-open breaker"
        elif permit is not None:
            assert self.now >= self.opened_at + POLICY.open_s
            self.probe = permit
        if permit is not None:
            self.under_way.append(permit)

    @rule(which=attempts)
    def an_attempt_is_answered(self, which: int) -> None:
        if permit := self._take(which):
            was_closed = self.breaker.closed()
            self.breaker.succeeded(permit)
            assert self.breaker.closed() is (was_closed or self._ends_probe(permit))

    @rule(which=attempts, subject=st.sampled_from("abcd"))
    def an_attempt_fails(self, which: int, subject: str) -> None:
        if permit := self._take(which):
            was_closed = self.breaker.closed()
            self.breaker.failed(permit, subject, self.now)
            if self._ends_probe(permit):
                self.opened_at = self.now
            assert self.breaker.closed() is was_closed, "objects alone opened it"

    @rule(which=attempts)
    def an_attempt_is_abandoned(self, which: int) -> None:
        if permit := self._take(which):
            was_closed = self.breaker.closed()
            self.breaker.abandoned(permit)
            if self._ends_probe(permit):
                self.opened_at = float("-inf")
            assert self.breaker.closed() is was_closed

    @rule()
    def the_store_does_not_answer_in_doubt(self) -> None:
        if self.breaker.doubtful:
            self.breaker.trip(self.now)
            self.opened_at = self.now
            assert not self.breaker.closed()

    @invariant()
    def an_open_breaker_lets_an_attempt_through_in_time(self) -> None:
        assert 0.0 <= self.breaker.asks_in_s(self.now) <= POLICY.open_s

    @invariant()
    def there_is_doubt_only_in_a_store_that_counts_as_up(self) -> None:
        assert self.breaker.closed() or not self.breaker.doubtful

    def _take(self, which: int) -> Permit | None:
        return self.under_way.pop(which % len(self.under_way)) if self.under_way else None

    def _ends_probe(self, permit: Permit) -> bool:
        if permit != self.probe:
            return False
        self.probe = None
        return True


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=60, stateful_step_count=30)
