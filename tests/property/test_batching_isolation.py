"""Whatever fails, an image at fault harms only itself, and the device is not asked forever."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.encode.batching import Batcher
from pipeline.encode.isolation import encode_rows
from pipeline.encode.policy import BatchPolicy
from pipeline.errors import DeviceOutOfMemory, Halt, PoisonedBatch, Reject
from pipeline.metrics import IMAGE_METRICS
from pipeline.records import Pixels, Vector

SIDE = 2
DIMENSION = 4
MAX_IMAGES = 40
DEADLINE_S = 20


class HostileEncoder(MemoryEncoder):
    """Fails on batches with a poisoned image, makes rows NaN and fits ``capacity`` images."""

    def __init__(
        self, poisoned: frozenset[int], not_finite: frozenset[int], capacity: int, flaky_calls: int
    ) -> None:
        super().__init__(DIMENSION, SIDE)
        self._poisoned = poisoned
        self._not_finite = not_finite
        self._capacity = capacity
        self._flaky_calls = flaky_calls
        self.calls = 0

    def encode_images(self, pixels: Pixels) -> Vector:
        self.calls += 1
        if len(pixels) > self._capacity:
            raise DeviceOutOfMemory(f"{len(pixels)} images")
        numbers = [int(image[0, 0, 0]) for image in pixels]
        if self.calls <= self._flaky_calls:
            raise PoisonedBatch("a passing disturbance")
        if self._poisoned.intersection(numbers):
            raise PoisonedBatch("poison")
        vectors = super().encode_images(pixels)
        for row, number in enumerate(numbers):
            if number in self._not_finite:
                vectors[row, 0] = np.nan
        return vectors


def images(count: int) -> Pixels:
    # Numbers stay below the grey of the probe, which is never at fault here.
    pixels = np.zeros((count, SIDE, SIDE, 3), dtype=np.uint8)
    pixels[:] = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return pixels


def require_its_own(
    outcomes: Mapping[int, object], poisoned: frozenset[int], not_finite: frozenset[int]
) -> None:
    """``outcomes`` are by the image's number."""
    healthy = MemoryEncoder(DIMENSION, SIDE).encode_images(images(MAX_IMAGES))
    for number, outcome in outcomes.items():
        if number in poisoned:
            assert isinstance(outcome, Reject)
            assert outcome.code == "encode.failed"
        elif number in not_finite:
            assert isinstance(outcome, Reject)
            assert outcome.code == "encode.non_finite"
        else:
            np.testing.assert_array_equal(np.asarray(outcome), healthy[number])


def max_calls(count: int, culprits: int, capacity: int) -> int:
    """Halvings until the batch fits, the pieces then, a bisection and a second try for each
    culprit, the probe."""
    depth = math.ceil(math.log2(count)) + 1
    pieces = math.ceil(count / max(1, min(capacity, count) // 2))
    return 2 * depth + pieces + culprits * (2 * depth + 1) + 1


numbers = st.frozensets(st.integers(0, MAX_IMAGES - 1), max_size=8)


@given(
    count=st.integers(1, MAX_IMAGES),
    poisoned=numbers,
    not_finite=numbers,
    capacity=st.integers(1, MAX_IMAGES + 1),
    max_size=st.integers(1, MAX_IMAGES + 1),
)
def test_every_culprit_is_rejected_once_and_every_other_image_gets_its_own_row(
    count: int,
    poisoned: frozenset[int],
    not_finite: frozenset[int],
    capacity: int,
    max_size: int,
) -> None:
    encoder = HostileEncoder(poisoned, not_finite, capacity, flaky_calls=0)
    encoded = encode_rows(encoder, images(count), max_size)
    assert len(encoded.rows) == count
    require_its_own(dict(enumerate(encoded.rows)), poisoned, not_finite)
    assert 1 <= encoded.max_size <= max_size
    if min(count, max_size) > capacity:
        assert encoded.max_size <= capacity
    culprits = len({number for number in poisoned | not_finite if number < count})
    assert encoder.calls <= max_calls(count, culprits, min(capacity, max_size))


@given(count=st.integers(1, MAX_IMAGES), capacity=st.integers(1, MAX_IMAGES))
def test_the_batch_that_fits_is_found_and_is_more_than_half_of_what_would(
    count: int, capacity: int
) -> None:
    encoder = HostileEncoder(frozenset(), frozenset(), capacity, flaky_calls=0)
    encoded = encode_rows(encoder, images(count), MAX_IMAGES)
    if count <= capacity:
        assert encoded.max_size == MAX_IMAGES
    else:
        assert capacity / 2 <= encoded.max_size <= capacity


@given(count=st.integers(1, MAX_IMAGES))
def test_a_single_passing_failure_rejects_nobody(count: int) -> None:
    encoder = HostileEncoder(frozenset(), frozenset(), MAX_IMAGES, flaky_calls=1)
    encoded = encode_rows(encoder, images(count), MAX_IMAGES)
    require_its_own(dict(enumerate(encoded.rows)), frozenset(), frozenset())


def always_poisoned(pixels: Pixels) -> Vector:
    raise PoisonedBatch("every time")


def never_finite(pixels: Pixels) -> Vector:
    return np.full((len(pixels), DIMENSION), np.nan, dtype=np.float32)


def never_fits(pixels: Pixels) -> Vector:
    raise DeviceOutOfMemory(f"{len(pixels)} images")


@pytest.mark.parametrize(
    ("encode_images", "code"),
    [
        (always_poisoned, "encode.unusable"),
        (never_finite, "encode.unusable"),
        (never_fits, "encode.out_of_memory"),
    ],
)
@given(count=st.integers(1, MAX_IMAGES))
def test_a_model_that_fails_on_everything_blames_no_image(
    encode_images: Callable[[Pixels], Vector], code: str, count: int
) -> None:
    class Broken(MemoryEncoder):
        def encode_images(self, pixels: Pixels) -> Vector:
            return encode_images(pixels)

    with pytest.raises(Halt) as caught:
        encode_rows(Broken(DIMENSION, SIDE), images(count), MAX_IMAGES)
    assert caught.value.code == code


@given(
    count=st.integers(1, MAX_IMAGES),
    poisoned=numbers,
    not_finite=numbers,
    capacity=st.integers(1, MAX_IMAGES),
    max_size=st.integers(1, MAX_IMAGES),
    cancelled=numbers,
)
def test_through_the_batcher_every_caller_gets_exactly_its_own_outcome(
    count: int,
    poisoned: frozenset[int],
    not_finite: frozenset[int],
    capacity: int,
    max_size: int,
    cancelled: frozenset[int],
) -> None:
    async def scenario() -> dict[int, object]:
        encoder = HostileEncoder(poisoned, not_finite, capacity, flaky_calls=0)
        policy = BatchPolicy(max_size=max_size, max_wait_s=0)
        batcher = Batcher(encoder, policy, HandClock(), MemoryMeter(IMAGE_METRICS))
        tasks = [asyncio.create_task(batcher.encode(image)) for image in images(count)]
        await asyncio.sleep(0)
        for number in cancelled:
            if number < count:
                tasks[number].cancel()
        async with asyncio.timeout(DEADLINE_S):
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.close()
        return {
            number: outcome for number, outcome in enumerate(outcomes) if number not in cancelled
        }

    require_its_own(asyncio.run(scenario()), poisoned, not_finite)
