"""Which squares of which frames a model looks at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.decode.wire import ProtocolViolation, Reply, Verdict
from pipeline.decode.crop import Centring, Crop
from pipeline.decode.policy import DecodePolicy
from pipeline.decode.views import CENTRE, Viewing, unseen_share

EDGE = 32


def lefts(width: int, height: int, **viewing: float) -> list[int]:
    most, max_unseen = int(viewing.get("most", 9)), viewing.get("max_unseen", 0.1)
    squares = Viewing(most, max_unseen).squares(width, height, EDGE, EDGE, "transformers")
    return [square.left for square in squares]


def test_by_default_the_model_sees_the_centred_square_of_the_first_frame() -> None:
    assert DecodePolicy().viewing == CENTRE
    assert CENTRE.squares(400, 100, EDGE, EDGE, "openai") == (
        Crop.of(400, 100, EDGE, EDGE, "openai"),
    )
    assert CENTRE.frames(100, 1) == (0,)
    assert DecodePolicy(views="all", max_views=5).viewing == Viewing(5, 0.1)


def test_a_wide_image_is_seen_in_an_odd_number_of_squares_from_end_to_end() -> None:
    assert lefts(100, 100) == [0]
    assert lefts(110, 100) == [1]  # 35 pixels wide: 9 % are unseen
    assert lefts(120, 100) == [3, 0, 6]
    assert lefts(400, 300) == [5, 0, 10]
    assert lefts(400, 100) == [48, 0, 24, 72, 96]


def test_squares_of_a_long_strip_are_spread_over_it_and_leave_gaps() -> None:
    assert lefts(1600, 100, most=3) == [240, 0, 480]
    squares = Viewing(3, 0.1).squares(1600, 100, EDGE, EDGE, "transformers")
    assert unseen_share(squares) == pytest.approx(1 - 3 / 16)


def test_what_views_the_squares_leave_goes_to_frames_from_the_first_to_the_last() -> None:
    viewing = Viewing(9, 0.1)
    assert viewing.frames(1, 1) == (0,)
    assert viewing.frames(2, 1) == (0, 1)
    assert viewing.frames(9, 1) == tuple(range(9))
    assert viewing.frames(100, 1) == (0, 12, 24, 37, 49, 61, 74, 86, 99)
    assert viewing.frames(100, 3) == (0, 49, 99)
    assert viewing.frames(100, 9) == (0,)


@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    resize=st.integers(8, 16),
    most=st.integers(1, 64),
    max_unseen=st.floats(0, 0.99),
    centring=st.sampled_from(["transformers", "openai"]),
)
def test_squares_see_what_they_promise(
    width: int, height: int, resize: int, most: int, max_unseen: float, centring: Centring
) -> None:
    squares = Viewing(most, max_unseen).squares(width, height, resize, 8, centring)
    centre = squares[0]
    assert centre == Crop.of(width, height, resize, 8, centring)
    assert 1 <= len(squares) <= max(1, most)
    assert len(squares) % 2 == 1
    length = max(centre.resized_width, centre.resized_height)
    seen = np.zeros(length, dtype=np.bool_)
    for square in squares:
        assert 0 <= square.left <= square.resized_width - 8
        assert 0 <= square.top <= square.resized_height - 8
        along = square.left if centre.resized_width >= centre.resized_height else square.top
        seen[along : along + 8] = True
    shorter = min(centre.resized_width, centre.resized_height)
    assert unseen_share(squares) == pytest.approx(1 - seen.sum() * 8 / (length * shorter))
    if len(squares) + 2 <= most:
        assert not seen.all() or length - len(squares) * 8 <= 0 or len(squares) == 1
        assert (~seen).sum() <= max_unseen * length + len(squares)  # places are whole pixels
    if len(squares) > 1:
        assert seen[0]
        assert seen[-1]


@given(frames=st.integers(1, 10_000), squares=st.integers(1, 80), most=st.integers(1, 64))
def test_frames_are_told_once_each_from_the_first_to_the_last(
    frames: int, squares: int, most: int
) -> None:
    chosen = Viewing(most, 0.1).frames(frames, squares)
    assert chosen[0] == 0
    assert list(chosen) == sorted(set(chosen))
    assert len(chosen) == 1 or (chosen[-1] == frames - 1 and len(chosen) * squares <= most)


@pytest.mark.parametrize(
    ("size", "frames", "views"),
    [
        ((640, 640), 1, {1}),
        ((640, 480), 1, {3}),
        ((640, 640), 4, {1, 2, 3, 4}),
        ((640, 480), 4, {3, 6, 9}),
        ((640, 640), 100, set(range(1, 10))),
    ],
)
def test_a_child_can_send_the_views_of_whole_frames_and_no_more_than_it_was_asked_for(
    size: tuple[int, int], frames: int, views: set[int]
) -> None:
    def accepted(sent: int, viewing: Viewing) -> bool:
        frame = Reply(Verdict.DECODED, sent * 8 * 8 * 3, 0, *size, frames).pack()
        try:
            Reply.unpack(frame, formats=1, resize=8, crop=8, viewing=viewing)
        except ProtocolViolation:
            return False
        return True

    assert {sent for sent in range(20) if accepted(sent, Viewing(9, 0.1))} == views
    assert {sent for sent in range(20) if accepted(sent, CENTRE)} == {1}


def test_a_child_cannot_send_a_part_of_a_view() -> None:
    frame = Reply(Verdict.DECODED, 8 * 8 * 3 + 1, 0, 640, 640, 9).pack()
    with pytest.raises(ProtocolViolation):
        Reply.unpack(frame, formats=1, resize=8, crop=8, viewing=Viewing(9, 0.1))
