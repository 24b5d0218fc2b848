"""The failure budget: what counts as one reason, and when it is spent."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.commit.budget import BudgetPolicy, Doubt, Excess, Failure, FailureBudget, counts
from pipeline.errors import CODES

WINDOW = 10


BUCKET = "uploads"


class Judge:
    """A budget that is told of codes; all objects are of one bucket."""

    def __init__(self, *before: str | None, max_share: float = 0.5) -> None:
        self._budget = FailureBudget(BudgetPolicy(window=WINDOW, max_share=max_share))
        for code in before:
            self._budget.note(_outcome(code))

    def judge(self, codes: Sequence[str | None]) -> Excess | None:
        return self._budget.judge([_outcome(code) for code in codes])


def _outcome(code: str | None) -> Failure | None:
    return None if code is None else Failure(code, BUCKET)


def budget(*before: str | None, max_share: float = 0.5) -> Judge:
    return Judge(*before, max_share=max_share)


def test_successes_and_a_few_failures_are_nothing() -> None:
    assert budget().judge([]) is None
    assert budget().judge([None] * 50) is None
    assert budget().judge([None, "fetch.not_found"]) is None


def test_codes_of_the_fetch_stage_count_together() -> None:
    excess = budget().judge(["fetch.not_found", "fetch.forbidden", None])
    assert excess is not None
    assert (excess.failures, excess.outcomes, excess.reason) == (2, 3, "the fetch stage")


def test_codes_of_the_model_count_together() -> None:
    excess = budget().judge(["encode.failed", "encode.non_finite", None])
    assert excess is not None
    assert (excess.reason, excess.doubt) == ("the model", Doubt.NONE)


def test_other_codes_count_each_by_itself() -> None:
    assert budget().judge(["publish.too_large", "internal.unexpected", None]) is None
    assert budget().judge(["publish.too_large", "publish.too_large", None]) is not None


@pytest.mark.parametrize(
    ("code", "doubt"),
    [
        ("decode.corrupt", Doubt.GOOD_IMAGES),
        ("decode.crashed", Doubt.GOOD_IMAGES),
        ("fetch.not_found", Doubt.BUCKETS),
        ("fetch.forbidden", Doubt.BUCKETS),
        ("fetch.failed", Doubt.NONE),
        ("fetch.timeout", Doubt.NONE),
        ("publish.too_large", Doubt.NONE),
        ("internal.unexpected", Doubt.NONE),
        ("record.corrupt", Doubt.NONE),
    ],
)
def test_what_others_can_bring_about_is_told_from_what_a_release_can(
    code: str, doubt: Doubt
) -> None:
    excess = budget().judge([code])
    assert excess is not None
    assert excess.doubt is doubt
    assert excess.buckets == ({BUCKET: 1} if doubt is Doubt.BUCKETS else {})


def test_objects_are_no_excuse_where_the_store_fails_often_enough_by_itself() -> None:
    mixed = ["fetch.not_found"] * 3 + ["fetch.timeout"] * 3 + [None] * 4
    excess = budget().judge(mixed)
    assert excess is not None
    assert excess.doubt is Doubt.BUCKETS
    excess = budget().judge(["fetch.not_found"] * 3 + ["fetch.timeout"] * 6 + [None])
    assert excess is not None
    assert excess.doubt is Doubt.NONE


@pytest.mark.parametrize("code", [code for code in CODES if code.startswith("reference.")])
def test_what_a_message_alone_decides_does_not_count(code: str) -> None:
    assert not counts(code)


@pytest.mark.parametrize(
    "code", ["fetch.failed", "decode.corrupt", "internal.unexpected", "new.code"]
)
def test_everything_else_does(code: str) -> None:
    assert counts(code)


def test_it_is_spent_when_a_whole_window_is_judged() -> None:
    few = budget().judge(["fetch.timeout"] * (WINDOW - 1))
    assert few is not None
    assert not few.spent
    whole = budget().judge(["fetch.timeout"] * WINDOW)
    assert whole is not None
    assert whole.spent


def test_what_was_committed_before_is_part_of_the_window() -> None:
    excess = budget(*["fetch.timeout"] * (WINDOW - 1)).judge(["fetch.timeout"])
    assert excess is not None
    assert excess.spent
    assert excess.outcomes == WINDOW


def test_a_window_is_the_latest_outcomes_only() -> None:
    long_ago = ["fetch.timeout"] * WINDOW
    assert budget(*long_ago, *[None] * WINDOW).judge([None]) is None


def test_good_work_before_does_not_hide_that_everything_fails_now() -> None:
    excess = budget(*[None] * WINDOW).judge(["fetch.timeout"] * 3)
    assert excess is not None
    assert not excess.spent


def test_more_than_a_window_is_judged_by_its_end_and_whole() -> None:
    failures, good = ["fetch.timeout"] * WINDOW, [None] * WINDOW
    assert budget().judge([*failures, *good]) is None
    for codes in ([*good, *failures], [*failures, *failures, *good]):
        excess = budget().judge(codes)
        assert excess is not None
        assert excess.spent


def test_good_work_before_does_not_dilute_a_whole_window_of_failures() -> None:
    excess = budget(*[None] * WINDOW).judge(["fetch.timeout"] * WINDOW)
    assert excess is not None
    assert excess.spent


@pytest.mark.parametrize("now", [[None], [], ["decode.corrupt", None]])
def test_failures_of_before_do_not_stop_what_has_nothing_to_do_with_them(
    now: list[str | None],
) -> None:
    assert budget(*["fetch.timeout"] * WINDOW).judge(now) is None


def test_a_share_of_one_never_spends_it() -> None:
    assert budget(max_share=1).judge(["fetch.timeout"] * 1000) is None


@pytest.mark.parametrize(
    "wrong", [{"window": 0}, {"max_share": 0.4}, {"max_share": 1.1}, {"hold_s": -1}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        BudgetPolicy.model_validate(wrong)


codes = st.lists(st.none() | st.sampled_from(sorted(CODES)), max_size=30)


@given(codes, codes)
@example(["fetch.timeout"] * WINDOW, ["fetch.timeout"] * WINDOW)
def test_an_excess_is_always_more_than_the_share(before: list[str | None], now: list[str]) -> None:
    excess = budget(*before).judge(now)
    if excess is not None:
        assert excess.share > 0.5
        assert excess.outcomes <= max(WINDOW, len(now))
        assert excess.outcomes >= WINDOW if excess.spent else excess.outcomes == len(now)
