"""How long a device has had its batch, as seen while it has it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.adapters.clip.watched import WatchedEncoder
from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.errors import PoisonedBatch
from pipeline.records import Pixels, Vector

PIXELS = np.zeros((1, 8, 8, 3), np.uint8)


class SlowEncoder(MemoryEncoder):
    """Each batch takes 100 s, and may fail."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(dimension=4, crop=8)
        self._clock = clock
        self.failure: Exception | None = None
        self.ages: list[float] = []
        self.watched = WatchedEncoder(self, clock)

    def encode_images(self, pixels: Pixels) -> Vector:
        self._clock.now += 100.0
        self.ages.append(self.watched.call_age_s())
        if self.failure is not None:
            raise self.failure
        return super().encode_images(pixels)

    def encode_texts(self, prompts: Sequence[str]) -> Vector:
        self._clock.now += 100.0
        self.ages.append(self.watched.call_age_s())
        return super().encode_texts(prompts)


def test_the_age_is_that_of_the_call_under_way() -> None:
    encoder = SlowEncoder(HandClock())
    watched = encoder.watched
    assert watched.call_age_s() == 0.0
    np.testing.assert_array_equal(
        watched.encode_images(PIXELS), MemoryEncoder(4, 8).encode_images(PIXELS)
    )
    encoder.failure = PoisonedBatch("bad")
    with pytest.raises(PoisonedBatch):
        watched.encode_images(PIXELS)
    assert encoder.ages == [100.0, 100.0]
    assert watched.call_age_s() == 0.0


def test_prompts_of_a_label_set_that_changes_are_watched_as_well() -> None:
    encoder = SlowEncoder(HandClock())
    encoder.watched.encode_texts(["a cat"])
    assert encoder.ages == [100.0]
    assert encoder.watched.call_age_s() == 0.0


def test_everything_else_is_the_encoders() -> None:
    encoder = SlowEncoder(HandClock())
    assert encoder.watched.model == encoder.model
    assert encoder.watched.geometry == encoder.geometry
    np.testing.assert_array_equal(
        encoder.watched.encode_texts(["a cat"]), encoder.encode_texts(["a cat"])
    )
