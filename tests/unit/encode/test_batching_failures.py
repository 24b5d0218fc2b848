"""What fails in a batch, and whom it reaches."""

from __future__ import annotations

import asyncio
import errno

import numpy as np
import pytest

from pipeline.adapters.memory.clock import HandClock
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.encode.batching import Batcher
from pipeline.encode.policy import BatchPolicy
from pipeline.errors import DeviceOutOfMemory, Halt, PoisonedBatch, Reject, WorkerLost
from pipeline.metrics import BATCH_SIZE, IMAGE_METRICS, MAX_BATCH, QUEUE_DEPTH
from pipeline.records import Pixels, Vector
from tests.rigs.stages.batching import (
    GatedEncoder,
    batcher_of,
    encoding,
    image,
    run,
    send,
    vector_of,
)


@pytest.mark.parametrize(
    "end",
    [
        Halt("encode.unusable", "encode: the device is gone"),
        WorkerLost("encode.device_lost", "encode: the device is gone"),
    ],
)
def test_an_end_reaches_every_waiter_and_every_later_caller(end: Halt | WorkerLost) -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        encoder.error = end
        batcher, _, meter = batcher_of(encoder, max_size=2)
        encoder.gate.clear()
        tasks = send(batcher, [1, 2, 3, 4, 5])
        await encoding(encoder)
        encoder.gate.set()
        failures = await asyncio.gather(*tasks, return_exceptions=True)
        assert [getattr(failure, "code", None) for failure in failures] == [end.code] * 5
        assert len({id(failure) for failure in failures}) == 5  # no shared traceback
        with pytest.raises(type(end), match="the device is gone"):
            await batcher.encode(image(6))
        assert meter.value(QUEUE_DEPTH, stage="encode") == 0
        await batcher.close()

    run(scenario())


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EMFILE, "too many open files")])
def test_a_process_that_has_run_out_ends_its_worker_and_not_the_driver(error: Exception) -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        encoder.error = error
        batcher, _, _ = batcher_of(encoder, max_size=1)
        with pytest.raises(WorkerLost) as caught:
            await batcher.encode(image(1))
        assert caught.value.code == "encode.exhausted"
        await batcher.close()

    run(scenario())


def test_an_encoder_that_breaks_its_contract_halts_the_batcher() -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        encoder.error = KeyError("surprise")
        batcher, _, _ = batcher_of(encoder, max_size=1)
        with pytest.raises(Halt, match="unexpected KeyError"):
            await batcher.encode(image(1))
        await batcher.close()

    run(scenario())


def test_a_batcher_that_fails_itself_leaves_nobody_waiting() -> None:
    class BrokenClock(HandClock):
        def __init__(self) -> None:
            super().__init__()
            self.readings = 1  # the arrival's; the next is the dispatcher's

        def monotonic(self) -> float:
            if self.readings == 0:
                raise OSError("no clock")
            self.readings -= 1
            return super().monotonic()

    async def scenario() -> None:
        meter = MemoryMeter(IMAGE_METRICS)
        batcher = Batcher(GatedEncoder(), BatchPolicy(max_size=2), BrokenClock(), meter)
        with pytest.raises(Halt, match="unexpected OSError"):
            await batcher.encode(image(1))
        with pytest.raises(Halt, match="unexpected OSError"):
            await batcher.encode(image(2))
        await batcher.close()

    run(scenario())


def test_pixels_of_another_size_are_our_fault_and_reach_no_batch() -> None:
    async def scenario() -> None:
        batcher, _, _ = batcher_of(GatedEncoder())
        for wrong in (np.zeros((1, 1, 3), np.uint8), image(1).astype(np.float32)):
            with pytest.raises(Halt) as caught:
                await batcher.encode(wrong)  # type: ignore[arg-type]
            assert caught.value.code == "encode.wrong_shape"
        await batcher.close()

    run(scenario())


def test_a_prompt_that_is_too_long_halts_its_caller_alone() -> None:
    async def scenario() -> None:
        batcher, _, _ = batcher_of(GatedEncoder(), max_size=1)
        with pytest.raises(Halt) as caught:
            await asyncio.to_thread(batcher.encode_texts, ["word " * 100])
        assert caught.value.code == "model.prompt_too_long"
        np.testing.assert_array_equal(await batcher.encode(image(1)), vector_of(1))
        await batcher.close()

    run(scenario())


def test_a_culprit_is_rejected_and_its_neighbours_are_not() -> None:
    class Allergic(GatedEncoder):
        def encode_images(self, pixels: Pixels) -> Vector:
            if (pixels[:, 0, 0, 0] == 3).any():
                raise PoisonedBatch("three")
            return super().encode_images(pixels)

    async def scenario() -> None:
        batcher, _, _ = batcher_of(Allergic())
        outcomes = await asyncio.gather(*send(batcher, [1, 2, 3, 4]), return_exceptions=True)
        await batcher.close()
        assert isinstance(outcomes[2], Reject)
        assert outcomes[2].code == "encode.failed"
        for number in (1, 2, 4):
            np.testing.assert_array_equal(np.asarray(outcomes[number - 1]), vector_of(number))

    run(scenario())


@pytest.mark.parametrize("passes", [True, False])
def test_a_row_that_is_not_finite_is_tried_once_more(passes: bool) -> None:
    class Flickering(GatedEncoder):
        def encode_images(self, pixels: Pixels) -> Vector:
            vectors = super().encode_images(pixels)
            numbers = pixels[:, 0, 0, 0].tolist()
            if not passes or len(self.batches) == 1:
                vectors[[number == 3 for number in numbers]] = np.nan
            return vectors

    async def scenario() -> None:
        encoder = Flickering()
        batcher, _, _ = batcher_of(encoder)
        outcomes = await asyncio.gather(*send(batcher, [1, 2, 3, 4]), return_exceptions=True)
        await batcher.close()
        if passes:
            np.testing.assert_array_equal(np.asarray(outcomes[2]), vector_of(3))
        else:
            assert isinstance(outcomes[2], Reject)
            assert outcomes[2].code == "encode.non_finite"
        for number in (1, 2, 4):
            np.testing.assert_array_equal(np.asarray(outcomes[number - 1]), vector_of(number))
        assert sum(3 in batch for batch in encoder.batches) == 2

    run(scenario())


class SharedCores(GatedEncoder):
    """Lanes that compute at once, each with its share of a batch."""

    def __init__(self, lanes: int, largest: int) -> None:
        super().__init__()
        self._lanes, self._largest = lanes, largest

    @property
    def lanes(self) -> int:
        return self._lanes

    @property
    def parallel(self) -> int:
        return self._lanes

    @property
    def largest(self) -> int:
        return self._largest


@pytest.mark.parametrize(("lanes", "share"), [(1, 32), (2, 16), (3, 11), (4, 8), (16, 8)])
def test_lanes_that_share_a_batch_are_no_shortage_of_memory(lanes: int, share: int) -> None:
    _, _, meter = batcher_of(SharedCores(lanes, share), max_size=32)
    assert meter.value(MAX_BATCH) == 32


@pytest.mark.parametrize(("lanes", "fits", "told"), [(1, 8, 8), (2, 8, 16), (16, 4, 16)])
def test_what_does_not_fit_a_device_shows_as_its_part_of_the_setting(
    lanes: int, fits: int, told: int
) -> None:
    _, _, meter = batcher_of(SharedCores(lanes, fits), max_size=32)
    assert meter.value(MAX_BATCH) == told


def test_an_out_of_memory_lowers_the_batches_that_follow(caplog: pytest.LogCaptureFixture) -> None:
    class Small(GatedEncoder):
        def encode_images(self, pixels: Pixels) -> Vector:
            if len(pixels) > 2:
                raise DeviceOutOfMemory(f"{len(pixels)} images")
            return super().encode_images(pixels)

    async def scenario() -> None:
        encoder = Small()
        batcher, _, meter = batcher_of(encoder, max_size=4)
        assert meter.value(MAX_BATCH) == 4
        await asyncio.gather(*send(batcher, [1, 2, 3, 4]))
        assert meter.value(MAX_BATCH) == 2
        await asyncio.gather(*send(batcher, [5, 6, 7, 8]))
        await batcher.close()
        assert encoder.batches == [[1, 2], [3, 4], [5, 6], [7, 8]]
        assert meter.values(BATCH_SIZE) == [4, 2, 2]

    run(scenario())
    assert "batches are of 2" in caplog.text
