"""A batcher with a bound refuses what it has no room for, and tells for how long."""

from __future__ import annotations

import asyncio
import pickle

import numpy as np
import pytest

from pipeline.adapters.memory.clock import HandClock
from pipeline.encode.batching import Batcher
from pipeline.encode.pace import REMEMBERED_BATCHES, UNMEASURED_WAIT_S, Pace
from pipeline.errors import Overloaded
from pipeline.metrics import QUEUE_DEPTH
from tests.rigs.stages.batching import (
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


async def encode_in(
    seconds: float, batcher: Batcher, encoder: GatedEncoder, clock: HandClock
) -> None:
    """A full batch of four that takes so long."""
    encoder.gate.clear()
    tasks = send(batcher, [1, 2, 3, 4])
    await encoding(encoder)
    await advance(clock, seconds)
    encoder.gate.set()
    await asyncio.gather(*tasks)
    await settle()


async def refusal(batcher: Batcher) -> Overloaded:
    with pytest.raises(Overloaded) as caught:
        await batcher.encode(image(9))
    return caught.value


def test_one_image_more_than_the_bound_is_refused_at_once_and_the_others_are_encoded() -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        batcher, _, meter = batcher_of(encoder, max_waiting=4)
        encoder.gate.clear()
        tasks = send(batcher, [1, 2, 3, 4])
        await encoding(encoder)  # these wait no more
        tasks += send(batcher, [5, 6, 7, 8])
        await settle()
        refused = await refusal(batcher)
        assert refused.code == "encode.overloaded"
        assert "no room for 1 more (4 images wait against a bound of 4)" in refused.message
        assert meter.value(QUEUE_DEPTH, stage="encode") == 4
        encoder.gate.set()
        rows = await asyncio.gather(*tasks)
        for number, row in enumerate(rows, 1):
            np.testing.assert_array_equal(row, vector_of(number))
        # There is room again.
        await asyncio.gather(*send(batcher, [9, 10, 11, 12]))
        await batcher.close()

    run(scenario())


def test_without_a_bound_nobody_is_refused() -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        batcher, _, meter = batcher_of(encoder)
        encoder.gate.clear()
        tasks = send(batcher, [1] * 200)
        await encoding(encoder)
        await settle()
        assert meter.value(QUEUE_DEPTH, stage="encode") == 196
        encoder.gate.set()
        await asyncio.gather(*tasks)
        await batcher.close()

    run(scenario())


def test_the_wait_told_is_what_waits_by_the_rate_of_lately() -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        batcher, clock, _ = batcher_of(encoder, max_waiting=4)
        await encode_in(2.0, batcher, encoder, clock)
        await advance(clock, 3600)  # an idle hour makes no device slow
        encoder.gate.clear()
        tasks = send(batcher, [1, 2, 3, 4])
        await encoding(encoder)
        tasks += send(batcher, [5, 6, 7])
        await settle()
        with pytest.raises(Overloaded) as caught:
            await batcher.encode_block(np.stack([image(8), image(9)]))
        # 3 wait, at 4 images in 2 s.
        assert caught.value.wait_s == pytest.approx(1.5)
        await advance(clock, 6)
        tasks += send(batcher, [8])
        await settle()
        # 4 wait, at 4 images in 2 s and the 6 s of the batch that the device does not finish.
        assert (await refusal(batcher)).wait_s == pytest.approx(8.0)
        encoder.gate.set()
        await asyncio.gather(*tasks)
        await batcher.close()

    run(scenario())


def test_a_block_larger_than_the_bound_is_taken_while_nothing_waits() -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        batcher, _, _ = batcher_of(encoder, max_waiting=4)
        block = np.stack([image(number) for number in range(6)])
        assert len(await batcher.encode_block(block)) == 6
        encoder.gate.clear()
        encoder.entered.clear()
        tasks = send(batcher, [1, 2, 3, 4])
        await encoding(encoder)
        tasks += send(batcher, [5])
        await settle()
        with pytest.raises(Overloaded, match="no room for 6 more"):
            await batcher.encode_block(block)
        encoder.gate.set()
        await asyncio.gather(*tasks[:4])
        await batcher.close()
        await asyncio.gather(*tasks)

    run(scenario())


def test_an_overload_survives_the_way_between_processes() -> None:
    error = Overloaded("encode.overloaded", "encode: 4 images wait", 1.5)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.code, copy.message, copy.wait_s) == (
        Overloaded,
        error.code,
        error.message,
        1.5,
    )


# -- the rate -----------------------------------------------------------------------------------


def test_before_the_first_batch_is_finished_the_wait_is_a_guess() -> None:
    pace = Pace()
    pace.begin(0.0)
    assert pace.wait_s(100, 5.0) == UNMEASURED_WAIT_S
    pace.finish(0, 5.0)  # nobody waited for it any more
    assert pace.wait_s(100, 5.0) == UNMEASURED_WAIT_S


def test_batches_side_by_side_share_their_seconds() -> None:
    pace = Pace()
    pace.begin(10.0)
    pace.begin(10.0)
    pace.finish(4, 12.0)
    pace.finish(4, 12.0)
    assert pace.wait_s(40, 12.0) == pytest.approx(10.0)  # 8 images in 2 s


def test_small_batches_of_a_quiet_time_are_forgotten() -> None:
    pace = Pace()
    for now in range(REMEMBERED_BATCHES):
        pace.begin(now)
        pace.finish(1, now + 0.5)
    assert pace.wait_s(10, 100.0) == pytest.approx(5.0)
    for now in range(REMEMBERED_BATCHES):
        pace.begin(200 + now)
        pace.finish(100, 200 + now + 0.5)
    assert pace.wait_s(10, 300.0) == pytest.approx(0.05)
