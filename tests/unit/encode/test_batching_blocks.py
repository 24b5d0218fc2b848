"""Blocks of images, and encoders that take several batches at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.encode.batching import due_in_s
from pipeline.errors import Halt, PoisonedBatch, Reject
from pipeline.metrics import MAX_BATCH, QUEUE_DEPTH
from pipeline.records import Pixels, Vector
from tests.rigs.stages.batching import (
    SIDE,
    GatedEncoder,
    advance,
    batcher_of,
    encoding,
    image,
    run,
    send,
    settle,
    vector_of,
)

POISON = 99


class LaneEncoder(GatedEncoder):
    """Takes three batches at once; fails on a batch with poison in it."""

    lanes = 3

    def encode_images(self, pixels: Pixels) -> Vector:
        if (pixels == POISON).any():
            raise PoisonedBatch("bad")
        return super().encode_images(pixels)


class ParallelEncoder(LaneEncoder):
    """Computes its batches at once, as a CPU does."""

    parallel = 3


def block(numbers: Sequence[int]) -> Pixels:
    return np.stack([image(number) for number in numbers])


def test_a_block_gets_its_rows_in_order_and_what_is_wrong_with_an_image_in_its_row() -> None:
    async def scenario() -> None:
        batcher, _, _ = batcher_of(LaneEncoder())
        rows = await batcher.encode_block(block([1, 2, POISON, 4]))
        await batcher.close()
        for number, row in zip([1, 2, POISON, 4], rows, strict=True):
            if number == POISON:
                assert isinstance(row, Reject)
                assert row.code == "encode.failed"
            else:
                np.testing.assert_array_equal(row, vector_of(number))

    run(scenario())


def test_blocks_and_single_images_share_batches() -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        batcher, clock, meter = batcher_of(encoder, max_size=4)
        encoder.gate.clear()
        first = asyncio.create_task(batcher.encode_block(block([1, 2, 3, 4])))
        await encoding(encoder)
        tasks = [asyncio.create_task(batcher.encode_block(block([5, 6, 7])))]
        singles = send(batcher, [8, 9])
        await settle()
        assert meter.value(QUEUE_DEPTH, stage="encode") == 5
        encoder.gate.set()
        await advance(clock, 10)
        rows = [await first, *[await task for task in tasks]]
        np.testing.assert_array_equal(await singles[1], vector_of(9))
        await batcher.close()
        assert encoder.batches == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]
        for numbers, got in zip(([1, 2, 3, 4], [5, 6, 7]), rows, strict=True):
            np.testing.assert_array_equal(got, [vector_of(number) for number in numbers])

    run(scenario())


def test_the_device_gets_no_more_at_once_than_the_largest_batch() -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        batcher, _, _ = batcher_of(encoder, max_size=4)
        rows = await batcher.encode_block(block(range(11)))
        await batcher.close()
        assert encoder.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
        np.testing.assert_array_equal(rows, [vector_of(number) for number in range(11)])

    run(scenario())


def test_a_block_without_images_is_no_work() -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        batcher, _, _ = batcher_of(encoder)
        assert await batcher.encode_block(np.empty((0, SIDE, SIDE, 3), np.uint8)) == []
        await batcher.close()
        assert encoder.batches == []

    run(scenario())


def test_pixels_of_another_size_halt() -> None:
    async def scenario() -> None:
        batcher, _, _ = batcher_of(GatedEncoder())
        for wrong in (block([1])[:, 1:], block([1]).astype(np.float32), image(1)):
            with pytest.raises(Halt) as caught:
                await batcher.encode_block(wrong)  # type: ignore[arg-type]
            assert caught.value.code == "encode.wrong_shape"
        await batcher.close()

    run(scenario())


def test_an_encoder_with_lanes_has_as_many_batches_at_once() -> None:
    async def scenario() -> None:
        encoder = LaneEncoder()
        batcher, _, _ = batcher_of(encoder, max_size=2)
        encoder.gate.clear()
        tasks = send(batcher, range(10))
        while len(encoder.batches) < encoder.lanes:
            await encoding(encoder)
        await settle()
        assert len(encoder.batches) == encoder.lanes
        encoder.gate.set()
        vectors = await asyncio.gather(*tasks)
        await batcher.close()
        assert len(encoder.threads) == encoder.lanes
        for number, vector in enumerate(vectors):
            np.testing.assert_array_equal(vector, vector_of(number))

    run(scenario())


def test_free_lanes_take_no_partial_batch_while_another_has_work() -> None:
    async def scenario() -> None:
        encoder = LaneEncoder()
        batcher, clock, _ = batcher_of(encoder, max_size=2, max_wait_s=1.0)
        encoder.gate.clear()
        tasks = send(batcher, [1, 2, 3])
        await encoding(encoder)
        await advance(clock, 10)  # the third would go alone
        tasks += send(batcher, [4])
        while len(encoder.batches) < 2:
            await encoding(encoder)
        encoder.gate.set()
        await asyncio.gather(*tasks)
        await batcher.close()
        assert encoder.batches == [[1, 2], [3, 4]]

    run(scenario())


def test_a_free_lane_takes_a_partial_batch_where_it_is_computed_beside_the_others() -> None:
    async def scenario() -> None:
        encoder = ParallelEncoder()
        batcher, clock, _ = batcher_of(encoder, max_size=2, max_wait_s=1.0)
        encoder.gate.clear()
        tasks = send(batcher, [1, 2, 3])
        await encoding(encoder)
        await settle()
        assert encoder.batches == [[1, 2]]  # the third waits for company
        await advance(clock, 1.0)
        while len(encoder.batches) < 2:
            await encoding(encoder)
        tasks += send(batcher, [4])
        await advance(clock, 1.0)
        while len(encoder.batches) < 3:
            await encoding(encoder)
        tasks += send(batcher, [5])
        await advance(clock, 10)  # no lane is free: it grows
        tasks += send(batcher, [6])
        encoder.gate.set()
        await asyncio.gather(*tasks)
        await batcher.close()
        assert encoder.batches == [[1, 2], [3], [4], [5, 6]]

    run(scenario())


def test_images_behind_a_full_batch_wait_as_long_as_any() -> None:
    """Those whose wait was over went with it."""

    async def scenario() -> None:
        encoder = ParallelEncoder()
        batcher, clock, _ = batcher_of(encoder, max_size=2, max_wait_s=1.0)
        encoder.gate.clear()
        tasks = send(batcher, [1])
        await settle()
        clock.now += 1.0  # its wait is over, and before its timer is heard there come two more
        tasks += send(batcher, [2, 3])
        await encoding(encoder)
        await advance(clock, 0.9)
        assert not await asyncio.to_thread(encoder.entered.wait, 0.2)
        assert encoder.batches == [[1, 2]]
        await advance(clock, 0.1)
        while len(encoder.batches) < 2:
            await encoding(encoder)
        encoder.gate.set()
        await asyncio.gather(*tasks)
        await batcher.close()
        assert encoder.batches == [[1, 2], [3]]

    run(scenario())


def test_batches_are_no_larger_than_the_encoders() -> None:
    class SmallEncoder(ParallelEncoder):
        largest = 2

    async def scenario() -> None:
        encoder = SmallEncoder()
        batcher, _, meter = batcher_of(encoder, max_size=4)
        assert meter.value(MAX_BATCH) == 2
        await asyncio.gather(*send(batcher, range(6)))
        await batcher.close()
        assert [len(batch) for batch in encoder.batches] == [2, 2, 2]

    run(scenario())


@pytest.mark.parametrize(("busy", "due"), [(0, 0.0), (3, 0.0), (4, None)])
def test_a_full_batch_is_due_while_a_lane_is_free_or_about_to_be(
    busy: int, due: float | None
) -> None:
    decided = due_in_s(waiting=4, oldest_wait_s=0.0, busy=busy, max_size=4, max_wait_s=0.5, lanes=3)
    assert decided == due
