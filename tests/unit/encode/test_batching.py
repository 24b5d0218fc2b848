"""Batches by size or wait, over the callers of one event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.adapters.memory.clock import HandClock
from pipeline.encode.batching import due_in_s
from pipeline.encode.policy import BatchPolicy
from pipeline.errors import Halt
from pipeline.metrics import BATCH_SIZE, QUEUE_DEPTH, STAGE_SECONDS
from pipeline.records import Pixels, Vector
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


@pytest.mark.parametrize(
    ("waiting", "oldest_wait_s", "busy", "due"),
    [
        (0, 0.0, 0, None),
        (1, 0.0, 0, 0.5),
        (3, 0.2, 0, 0.3),
        (3, 0.5, 0, 0.0),
        (3, 9.0, 0, 0.0),
        (4, 0.0, 0, 0.0),
        (3, 9.0, 1, None),
        (4, 0.0, 1, 0.0),
        (4, 9.0, 2, None),
    ],
)
def test_a_batch_is_due_when_full_or_when_its_oldest_has_waited_and_the_device_is_idle(
    waiting: int, oldest_wait_s: float, busy: int, due: float | None
) -> None:
    decided = due_in_s(
        waiting=waiting, oldest_wait_s=oldest_wait_s, busy=busy, max_size=4, max_wait_s=0.5
    )
    assert decided == (due if due is None else pytest.approx(due))


def test_a_full_batch_goes_without_waiting_and_everybody_gets_their_own_row() -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        batcher, _, _ = batcher_of(encoder)
        vectors = await asyncio.gather(*send(batcher, [1, 2, 3, 4]))
        await batcher.close()
        assert encoder.batches == [[1, 2, 3, 4]]
        for number, vector in zip([1, 2, 3, 4], vectors, strict=True):
            np.testing.assert_array_equal(vector, vector_of(number))

    run(scenario())


def test_a_partial_batch_goes_when_its_oldest_image_has_waited() -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        batcher, clock, _ = batcher_of(encoder, max_wait_s=1.0)
        first = send(batcher, [1])
        await advance(clock, 0.75)
        second = send(batcher, [2])
        await advance(clock, 0.25)
        await asyncio.gather(*first, *second)
        await batcher.close()
        # One batch: the first did not go earlier, and the second did not wait its own second.
        assert encoder.batches == [[1, 2]]

    run(scenario())


def test_a_wait_of_zero_sends_an_image_at_once() -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        batcher, _, _ = batcher_of(encoder, max_wait_s=0)
        np.testing.assert_array_equal(await batcher.encode(image(7)), vector_of(7))
        await batcher.close()

    run(scenario())


def test_while_the_device_is_busy_a_partial_batch_grows() -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        batcher, clock, meter = batcher_of(encoder, max_size=2, max_wait_s=1.0)
        encoder.gate.clear()
        tasks = send(batcher, [1, 2])
        await encoding(encoder)
        tasks += send(batcher, [3])
        await advance(clock, 10)  # long past its wait: it stays, the device has nothing for it
        assert meter.value(QUEUE_DEPTH, stage="encode") == 1
        tasks += send(batcher, [4, 5, 6, 7])
        await advance(clock, 10)
        # A batch is asked of the encoder's thread, and put together when it is free.
        assert meter.value(QUEUE_DEPTH, stage="encode") == 5
        encoder.gate.set()
        await asyncio.gather(*tasks[:6])
        await advance(clock, 1)
        await tasks[6]
        await batcher.close()
        assert encoder.batches == [[1, 2], [3, 4], [5, 6], [7]]

    run(scenario())


def test_a_cancelled_caller_is_dropped_before_its_batch_goes() -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        batcher, clock, _ = batcher_of(encoder)
        one, two, three = send(batcher, [1, 2, 3])
        await settle()
        two.cancel()
        await advance(clock, 1)
        np.testing.assert_array_equal(await one, vector_of(1))
        np.testing.assert_array_equal(await three, vector_of(3))
        assert two.cancelled()
        await batcher.close()
        assert encoder.batches == [[1, 3]]

    run(scenario())


def test_a_batch_without_callers_never_reaches_the_encoder() -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        batcher, clock, meter = batcher_of(encoder)
        tasks = send(batcher, [1, 2])
        await settle()
        for task in tasks:
            task.cancel()
        await advance(clock, 1)
        await batcher.close()
        assert encoder.batches == []
        assert meter.values(BATCH_SIZE) == []
        assert meter.value(QUEUE_DEPTH, stage="encode") == 0

    run(scenario())


def test_a_caller_cancelled_while_its_batch_runs_harms_nobody() -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        batcher, _, _ = batcher_of(encoder, max_size=2)
        encoder.gate.clear()
        one, two = send(batcher, [1, 2])
        await encoding(encoder)
        one.cancel()
        await settle()
        encoder.gate.set()
        np.testing.assert_array_equal(await two, vector_of(2))
        await batcher.close()

    run(scenario())


def test_an_image_of_a_higher_level_waits_for_no_batch_but_the_one_that_is_encoded() -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        batcher, _, _ = batcher_of(encoder, max_size=2, max_wait_s=1.0)
        encoder.gate.clear()
        tasks = send(batcher, [1, 2], level=1)
        await encoding(encoder)
        tasks += send(batcher, [3, 4, 5, 6], level=1)
        await settle()  # [3, 4] would be next: it is asked for, and not put together yet
        tasks += send(batcher, [7])
        await settle()
        encoder.gate.set()
        await batcher.close()
        await asyncio.gather(*tasks)
        assert encoder.batches == [[1, 2], [7, 3], [4, 5], [6]]

    run(scenario())


def test_closing_encodes_what_waits_and_leaves_no_thread() -> None:
    async def scenario() -> None:
        encoder = GatedEncoder()
        batcher, _, _ = batcher_of(encoder, max_wait_s=60)
        tasks = send(batcher, [1, 2])
        await settle()
        await batcher.close()
        await batcher.close()
        np.testing.assert_array_equal(await tasks[1], vector_of(2))
        with pytest.raises(Halt) as caught:
            await batcher.encode(image(3))
        assert caught.value.code == "encode.closed"
        assert len(encoder.threads) == 1
        assert encoder.threads.isdisjoint(threading.enumerate())

    run(scenario())


def test_one_thread_runs_every_batch_and_every_prompt() -> None:
    class Watched(GatedEncoder):
        def encode_texts(self, prompts: Sequence[str]) -> Vector:
            self.threads.add(threading.current_thread())
            return super().encode_texts(prompts)

    async def scenario() -> None:
        encoder = Watched()
        batcher, _, _ = batcher_of(encoder, max_size=1)
        prompts = [f"a photo of {number * 'very '}" for number in range(70)]
        images, texts = await asyncio.gather(
            asyncio.gather(*send(batcher, range(5))),
            asyncio.to_thread(batcher.encode_texts, prompts),
        )
        await batcher.close()
        assert len(images) == 5
        np.testing.assert_array_equal(texts, encoder.encode_texts(prompts))
        encoder.threads.discard(threading.current_thread())
        assert len(encoder.threads) == 1

    run(scenario())


def test_queueing_is_timed_for_each_image_and_encoding_for_each_batch() -> None:
    class Slow(GatedEncoder):
        clock: HandClock

        def encode_images(self, pixels: Pixels) -> Vector:
            self.clock.now += 5
            return super().encode_images(pixels)

    async def scenario() -> None:
        encoder = Slow()
        batcher, clock, meter = batcher_of(encoder, max_wait_s=1.0)
        encoder.clock = clock
        tasks = send(batcher, [1])
        await advance(clock, 0.25)
        tasks += send(batcher, [2])
        await advance(clock, 0.75)
        await asyncio.gather(*tasks)
        await batcher.close()
        assert meter.values(STAGE_SECONDS, stage="queue") == [1.0, 0.75]
        assert meter.values(STAGE_SECONDS, stage="encode") == [5.0]
        assert meter.values(BATCH_SIZE) == [2]

    run(scenario())


@pytest.mark.parametrize("wrong", [{"max_size": 0}, {"max_wait_s": -1}, {"max_wait_ms": 5}])
def test_an_impossible_policy_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        BatchPolicy.model_validate(wrong)
