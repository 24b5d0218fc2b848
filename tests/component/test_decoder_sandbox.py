"""The pool of decoder processes, with real processes that crash, hang, swell and lie."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from PIL import Image

from pipeline.adapters.decode import pool as decoders
from pipeline.adapters.decode.pool import SandboxedDecoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.errors import Halt, Reject
from pipeline.metrics import DECODER_RESTARTS, IMAGE_METRICS, QUEUE_DEPTH
from pipeline.records import ImageGeometry, Pixels

GEOMETRY = ImageGeometry(32, 32)
PROGRAM = Path(__file__).with_name("decoder_with_faults.py")
PATIENCE_S = 60.0

T = TypeVar("T")


def picture(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (shade, 0, 255 - shade)).save(file, "PNG")
    return file.getvalue()


def fault(name: str, rest: bytes = b"") -> bytes:
    return b"fault:" + name.encode() + b":" + rest


@contextlib.asynccontextmanager
async def pool(
    meter: MemoryMeter | None = None, *, processes: int = 1, deadline_s: float = 30
) -> AsyncIterator[SandboxedDecoder]:
    policy = DecodePolicy(
        processes=processes, deadline_s=deadline_s, max_megapixels=1, max_memory_mib=512
    )
    decoder = SandboxedDecoder(policy, meter or MemoryMeter(IMAGE_METRICS), PROGRAM)
    await decoder.start()
    try:
        yield decoder
    finally:
        await decoder.close()


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(body)


def restarts(meter: MemoryMeter) -> float | None:
    return meter.value(DECODER_RESTARTS)


async def rejected(decoder: SandboxedDecoder, body: bytes) -> Reject:
    with pytest.raises(Reject) as caught:
        await decoder.decode(body, GEOMETRY)
    return caught.value


async def process_id(decoder: SandboxedDecoder) -> int:
    reject = await rejected(decoder, fault("report_process"))
    return int(reject.message.removeprefix("decode: "))


async def until(look: Callable[[], T]) -> T:
    """Wait for something true, with a bound that is never met on a working system."""
    async with asyncio.timeout(PATIENCE_S):
        while not (seen := look()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return seen


async def assert_works(decoder: SandboxedDecoder, shade: int = 77) -> None:
    image = await decoder.decode(picture(shade), GEOMETRY)
    assert image.pixels[0, 0].tolist() == [shade, 0, 255 - shade]


def test_pixels_and_facts_come_back() -> None:
    async def scenario() -> None:
        async with pool() as decoder:
            image = await decoder.decode(picture(9), GEOMETRY)
            assert image.pixels.shape == (32, 32, 3)
            assert image.pixels.dtype == np.uint8
            assert image.pixels.flags.c_contiguous
            assert (image.facts.format, image.facts.frames) == ("PNG", 1)
            assert (image.facts.width, image.facts.height) == (64, 48)
            assert image.facts.cropped_share == pytest.approx(1 - 32 * 32 / (42 * 32))

    run(scenario())


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("crash", "decode.crashed"),
        ("leave", "decode.crashed"),
        ("babble", "decode.crashed"),
        ("devour_memory", "decode.out_of_memory"),
        ("hang", "decode.timeout"),
        ("hang_while_disarmed", "decode.timeout"),
    ],
)
def test_a_fault_harms_its_own_image_alone(name: str, code: str) -> None:
    async def scenario() -> None:
        async with pool(processes=2, deadline_s=3) as decoder:
            shades = range(0, 200, 10)
            bodies = [picture(shade) for shade in shades]
            bodies[7:7] = [fault(name)]
            outcomes = await asyncio.gather(
                *(decoder.decode(body, GEOMETRY) for body in bodies), return_exceptions=True
            )
            failed = outcomes.pop(7)
            assert isinstance(failed, Reject)
            assert failed.code == code
            seen = [
                each if isinstance(each, BaseException) else shade_of(each.pixels)
                for each in outcomes
            ]
            assert seen == list(shades)
            await assert_works(decoder)

    run(scenario())


def shade_of(pixels: Pixels) -> int:
    return int(pixels[0, 0, 0])


def test_a_crash_is_tried_again_in_a_fresh_process_and_counted() -> None:
    async def scenario() -> None:
        meter = MemoryMeter(IMAGE_METRICS)
        async with pool(meter) as decoder:
            await assert_works(decoder)
            image = await decoder.decode(fault("crash_unless_fresh", picture(5)), GEOMETRY)
            assert shade_of(image.pixels) == 5
            assert restarts(meter) == 1
            assert (await rejected(decoder, fault("crash"))).code == "decode.crashed"
            assert restarts(meter) == 3

    run(scenario())


def test_an_image_over_the_memory_limit_or_the_deadline_is_tried_once() -> None:
    async def scenario() -> None:
        meter = MemoryMeter(IMAGE_METRICS)
        async with pool(meter, deadline_s=3) as decoder:
            await rejected(decoder, fault("devour_memory"))
            await rejected(decoder, fault("hang"))
            assert restarts(meter) == 2

    run(scenario())


def test_waiting_for_a_free_process_is_no_failure() -> None:
    async def scenario() -> None:
        async with pool(deadline_s=3) as decoder:
            # The first holds the only process for the whole deadline, the others wait longer.
            hung = asyncio.create_task(rejected(decoder, fault("hang")))
            await asyncio.sleep(0)
            await asyncio.gather(*(assert_works(decoder, shade) for shade in range(5)))
            assert (await hung).code == "decode.timeout"

    run(scenario())


def are_waiting(meter: MemoryMeter, images: int) -> bool:
    return meter.value(QUEUE_DEPTH, stage="decode") == images


def test_the_queue_is_what_waits_and_not_what_is_decoded() -> None:
    async def scenario() -> None:
        meter = MemoryMeter(IMAGE_METRICS)
        async with pool(meter) as decoder:
            assert are_waiting(meter, 0)
            busy = asyncio.create_task(decoder.decode(fault("hang"), GEOMETRY))
            await asyncio.sleep(0)
            assert are_waiting(meter, 0)
            images = [asyncio.create_task(decoder.decode(picture(9), GEOMETRY)) for _ in range(3)]
            await until(lambda: are_waiting(meter, 3))
            images.pop().cancel()
            await until(lambda: are_waiting(meter, 2))
            busy.cancel()
            await asyncio.gather(*images)
            assert are_waiting(meter, 0)

    run(scenario())


def test_of_waiting_images_those_of_the_first_level_are_decoded_first() -> None:
    async def scenario() -> None:
        meter = MemoryMeter(IMAGE_METRICS)
        done: list[str] = []

        async def decode(name: str, level: int) -> None:
            await decoder.decode(picture(9), GEOMETRY, None, level)
            done.append(name)

        async with pool(meter) as decoder:
            busy = asyncio.create_task(decoder.decode(fault("hang"), GEOMETRY))
            await asyncio.sleep(0)
            async with asyncio.TaskGroup() as images:
                for place, level in enumerate([1, 1, 0, 0]):
                    images.create_task(decode(f"{level}: {place}", level))
                    await until(partial(are_waiting, meter, place + 1))
                busy.cancel()
        assert done == ["0: 2", "0: 3", "1: 0", "1: 1"]

    run(scenario())


def test_a_stall_of_the_worker_itself_is_not_held_against_the_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        meter = MemoryMeter(IMAGE_METRICS)
        async with pool(meter) as decoder:
            await assert_works(decoder)
            body = fault("hang_unless_fresh", picture(5))
            decoding = asyncio.create_task(decoder.decode(body, GEOMETRY))
            await until(lambda: [each for each in decoder._running if each.served == 2])
            # An hour passes that nobody was awake to see.
            loop, clock = asyncio.get_running_loop(), time.monotonic
            monkeypatch.setattr(loop, "time", lambda: clock() + 3_600)
            image = await decoding
            assert shade_of(image.pixels) == 5
            assert restarts(meter) == 1

    run(scenario())


def test_a_stall_of_the_worker_while_a_process_starts_is_no_broken_installation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        async with pool() as decoder:
            os.kill(await process_id(decoder), signal.SIGKILL)
            decoding = asyncio.create_task(decoder.decode(picture(5), GEOMETRY))
            await until(lambda: [each for each in decoder._running if not each.served])
            loop, clock = asyncio.get_running_loop(), time.monotonic
            monkeypatch.setattr(loop, "time", lambda: clock() + 3_600)
            assert shade_of((await decoding).pixels) == 5

    run(scenario())


def test_a_process_killed_from_outside_is_replaced() -> None:
    async def scenario() -> None:
        meter = MemoryMeter(IMAGE_METRICS)
        async with pool(meter) as decoder:
            victim = await process_id(decoder)
            os.kill(victim, signal.SIGKILL)
            await assert_works(decoder)
            assert await process_id(decoder) != victim
            assert restarts(meter) == 1

    run(scenario())


def test_a_process_killed_from_outside_twice_at_work_counts_as_out_of_memory() -> None:
    # The kernel's OOM killer sends the same signal.
    async def scenario() -> None:
        async with pool() as decoder:
            decoding = asyncio.create_task(rejected(decoder, fault("hang")))
            for _ in range(2):
                (child,) = await until(lambda: [each for each in decoder._running if each.served])
                child.process.send_signal(signal.SIGKILL)
                await until(lambda: child not in decoder._running)  # noqa: B023
            assert (await decoding).code == "decode.out_of_memory"
            await assert_works(decoder)

    run(scenario())


def test_cancelling_at_any_point_leaves_no_answer_behind_for_the_next_image() -> None:
    async def scenario() -> None:
        async with pool() as decoder:
            for turns in range(0, 24, 2):
                abandoned = asyncio.create_task(decoder.decode(picture(200), GEOMETRY))
                for _ in range(turns):
                    await asyncio.sleep(0)
                abandoned.cancel()
                await assert_works(decoder, turns)

    run(scenario())


def test_a_cancelled_image_frees_its_process_at_once() -> None:
    async def scenario() -> None:
        async with pool(deadline_s=PATIENCE_S) as decoder:
            hung = asyncio.create_task(decoder.decode(fault("hang"), GEOMETRY))
            await until(lambda: [each for each in decoder._running if each.served])
            hung.cancel()
            async with asyncio.timeout(PATIENCE_S / 2):
                await assert_works(decoder)

    run(scenario())


def test_the_decoder_works_in_a_loop_outside_the_main_thread() -> None:
    failures: list[BaseException] = []

    async def scenario() -> None:
        async with pool() as decoder:
            await assert_works(decoder)
            assert (await rejected(decoder, fault("crash"))).code == "decode.crashed"
            await assert_works(decoder)

    def thread() -> None:
        try:
            run(scenario())
        except BaseException as error:
            failures.append(error)

    worker = threading.Thread(target=thread)
    worker.start()
    worker.join()
    assert not failures


def test_closing_reaps_every_process_and_releases_every_descriptor() -> None:
    async def scenario() -> None:
        async with pool(processes=2) as decoder:
            await rejected(decoder, fault("crash"))
            await assert_works(decoder)
            pids.extend(each.process.pid for each in decoder._running)
        await decoder.close()  # a second time

    pids: list[int] = []
    run(scenario())
    before = len(list(Path("/proc/self/fd").iterdir()))
    run(scenario())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert len(pids) >= 2
    for pid in pids:
        # Neither alive nor a zombie.
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_closing_ends_what_is_under_way_and_refuses_what_comes_after() -> None:
    async def scenario() -> None:
        async with pool() as decoder:
            bodies = (fault("hang"), picture(1))
            tasks = [asyncio.create_task(decoder.decode(body, GEOMETRY)) for body in bodies]
            await until(lambda: [each for each in decoder._running if each.served])
            await decoder.close()
            for task in tasks:
                with pytest.raises(Halt, match=r"decode\.closed"):
                    await task
            with pytest.raises(Halt, match=r"decode\.closed"):
                await decoder.decode(picture(1), GEOMETRY)

    run(scenario())


def test_a_process_is_replaced_after_its_share_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "IMAGES_PER_PROCESS", 3)

    async def scenario() -> None:
        meter = MemoryMeter(IMAGE_METRICS)
        async with pool(meter) as decoder:
            pids = [await process_id(decoder) for _ in range(7)]
            assert len(set(pids[0:3])) == len(set(pids[3:6])) == 1
            assert len(set(pids)) == 3
            assert restarts(meter) == 0

    run(scenario())


def test_what_a_child_says_is_printable() -> None:
    async def scenario() -> None:
        async with pool() as decoder:
            reject = await rejected(decoder, fault("report_control_characters"))
            assert reject.message == "decode: ?[31mred???evil"

    run(scenario())


def test_a_square_larger_than_the_resized_image_halts() -> None:
    async def scenario() -> None:
        async with pool() as decoder:
            with pytest.raises(Halt, match=r"decode\.geometry"):
                await decoder.decode(picture(1), ImageGeometry(resize=32, crop=33))

    run(scenario())
