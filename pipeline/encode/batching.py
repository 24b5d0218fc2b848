"""Collects the images of all callers into batches for the encoder's threads.

``due_in_s`` decides when a batch goes. ``isolation`` encodes a batch and finds the images at fault.
``pace`` estimates waits. ``Batcher`` is the asyncio around the three.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from pipeline.encode.isolation import encode_rows
from pipeline.encode.pace import Pace
from pipeline.encode.policy import BatchPolicy, lane_share
from pipeline.errors import Halt, Overloaded, Reject, WorkerLost, ends_worker
from pipeline.metrics import BATCH_SIZE, MAX_BATCH, QUEUE_DEPTH, STAGE_SECONDS
from pipeline.ports import UNTRACED, Clock, Encoder, ImageTrace, Meter
from pipeline.priority import FIRST, PriorityQueue
from pipeline.records import Pixels, Vector

log = logging.getLogger(__name__)

STAGED_BATCHES = 1
"""Batches submitted before a thread is free, so that the device never waits for the event loop."""

TEXT_CHUNK = 64
"""Most prompts that an image batch waits for."""


def due_in_s(
    *,
    waiting: int,
    oldest_wait_s: float,
    busy: int,
    max_size: int,
    max_wait_s: float,
    lanes: int = 1,
    parallel: int = 1,
) -> float | None:
    """Seconds until the next batch is due (0: now), or None if another event must happen first.

    ``waiting`` counts the images that belong to no batch yet. ``busy`` counts the batches that the
    encoder's threads have; there is one thread for each lane. The encoder computes ``parallel`` of
    them at a time. A full batch is due as soon as it can be staged. A partial batch is due when its
    oldest image has waited long enough, and only if it is computed at once; behind other batches it
    loses nothing by growing.
    """
    if waiting == 0 or busy >= lanes + STAGED_BATCHES:
        return None
    if waiting >= max_size:
        return 0.0
    if busy >= parallel:
        return None
    return max(0.0, max_wait_s - oldest_wait_s)


def _lost(error: Exception) -> WorkerLost:
    return WorkerLost("encode.exhausted", f"encode: {type(error).__name__}: {error}")


def _unexpected(error: Exception) -> Halt:
    return Halt("encode.unusable", f"encode: unexpected {type(error).__name__}: {error}")


@dataclass(frozen=True, slots=True)
class _Block:
    """One caller's images, uint8 [images, crop, crop, 3], and the future of their embeddings."""

    pixels: Pixels
    waiter: asyncio.Future[list[Vector | Reject]]
    arrived_s: float
    trace: ImageTrace


class Batcher:
    """The only caller of an encoder, for the callers of one event loop.

    Owns the encoder's threads, one for each lane; ``close`` ends them. Once the encoder has failed
    for good, every call raises the reason. A batch is filled when a thread is free for it, so an
    image of a higher level waits only for batches that were begun before.

    ``max_waiting`` bounds the images of all callers that no batch has taken yet. Below ``max_size``
    no batch would be full. None: no bound.
    """

    def __init__(
        self,
        encoder: Encoder,
        policy: BatchPolicy,
        clock: Clock,
        meter: Meter,
        min_share: float = 0.0,
        max_waiting: int | None = None,
    ) -> None:
        self._encoder = encoder
        self._policy = policy
        self._clock = clock
        self._meter = meter
        self._side = encoder.geometry.crop
        self._max_size = min(policy.largest, encoder.largest)
        self._waiting: PriorityQueue[_Block] = PriorityQueue(min_share)
        self._images_waiting = 0
        self._max_waiting = max_waiting
        self._pace = Pace()
        self._unfilled = 0  # batches that were launched and are not filled yet
        self._waiting_lock = threading.Lock()
        self._running: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._dispatcher: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(encoder.lanes, thread_name_prefix="encoder")
        self._halted: Halt | WorkerLost | None = None
        self._closing = False
        self._report_max_size()
        meter.set(QUEUE_DEPTH, 0, stage="encode")

    async def encode(
        self, pixels: Pixels, level: int = FIRST, trace: ImageTrace = UNTRACED
    ) -> Vector:
        """Embed one image, uint8 [crop, crop, 3]; returns its unit vector [dimension].

        The pixels must not change before this returns. A cancelled caller's image is not encoded
        unless its batch has already gone to the device. ``trace`` is told when the image begins to
        wait, and when its batch goes.

        Raises:
            Reject: ``encode.failed`` or ``encode.non_finite``.
            Overloaded: with this image more than ``max_waiting`` would wait.
            Halt: the model or the device is unusable, or the batcher is closed.
            WorkerLost: the device is lost to this process.
        """
        (row,) = await self.encode_block(pixels[np.newaxis], level, trace)
        if isinstance(row, Reject):
            raise row
        return row

    async def encode_block(
        self, pixels: Pixels, level: int = FIRST, trace: ImageTrace = UNTRACED
    ) -> list[Vector | Reject]:
        """Embed several images, uint8 [images, crop, crop, 3], in order, as ``encode`` does each.

        The call costs as much as for one image; above ten thousand images a second, one coroutine
        for each would be the bottleneck. Blocks of ``max_size`` images are encoded without copying.

        Raises:
            Overloaded: as ``encode``. A block larger than ``max_waiting`` is taken while nothing
                waits, because it could never be taken otherwise.
            Halt, WorkerLost: as ``encode``. The failure of a single image is in its row.
        """
        self._require_open()
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (self._side, self._side, 3):
            raise Halt(
                "encode.wrong_shape",
                f"encode: pixels are {pixels.dtype} {list(pixels.shape[1:])} against uint8 "
                f"[{self._side}, {self._side}, 3]; the decoder and the model disagree",
            )
        if not len(pixels):
            return []
        self._require_room(len(pixels))
        waiter: asyncio.Future[list[Vector | Reject]] = asyncio.get_running_loop().create_future()
        if self._dispatcher is None:
            self._dispatcher = asyncio.create_task(self._dispatch(), name="batcher")
        with self._waiting_lock:
            trace.enter("queue")
            self._waiting.push(_Block(pixels, waiter, self._clock.monotonic(), trace), level)
            before, waiting = self._images_waiting, self._images_waiting + len(pixels)
            self._images_waiting = waiting
        self._report_depth(waiting)
        # Only the first image and the image that fills the batch change the time when the batch is
        # due.
        if before == 0 or waiting >= self._max_size:
            self._changed.set()
        return await waiter

    def encode_texts(self, prompts: Sequence[str]) -> Vector:
        """Embed prompts on one of the encoder's threads, between image batches; unit vectors in
        order.

        Blocks, for minutes if prompts are many. Call it from any thread but the event loop's.

        Raises:
            Halt: as ``Encoder.encode_texts``; images can still be encoded afterwards.
        """
        # Longest first, so that a prompt that is too long is reported at once and not after
        # minutes.
        order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
        vectors = np.empty((len(prompts), self._encoder.model.dimension), dtype=np.float32)
        for start in range(0, len(order), TEXT_CHUNK):
            self._require_open()
            chunk = order[start : start + TEXT_CHUNK]
            texts = [prompts[index] for index in chunk]
            vectors[chunk] = self._threads.submit(self._encoder.encode_texts, texts).result()
        return vectors

    def wait_s(self, images: int) -> float:
        """Seconds until the device has finished so many waiting images, at the pace of its last
        batches."""
        return self._pace.wait_s(images, self._clock.monotonic())

    async def close(self) -> None:
        """Accept no more images, encode the waiting ones at once, and end the threads. Idempotent.

        To abandon the waiting images, cancel their callers first.
        """
        self._closing = True
        self._changed.set()
        if self._dispatcher is not None:
            await self._dispatcher
        await asyncio.to_thread(self._threads.shutdown)

    def _require_open(self) -> None:
        if self._halted is not None:
            raise type(self._halted)(self._halted.code, self._halted.message) from self._halted
        if self._closing:
            raise Halt("encode.closed", "encode: the batcher is closed; this worker is stopping")

    def _require_room(self, images: int) -> None:
        waiting = self._images_waiting
        if self._max_waiting is None or not waiting or waiting + images <= self._max_waiting:
            return
        wait_s = self._pace.wait_s(waiting, self._clock.monotonic())
        raise Overloaded(
            "encode.overloaded",
            f"encode: no room for {images} more ({waiting} images wait against a bound of "
            f"{self._max_waiting}); try again in {wait_s:.2f} s",
            wait_s,
        )

    async def _dispatch(self) -> None:
        try:
            while self._waiting or self._running or not self._closing:
                self._changed.clear()
                wait_s = self._next_due_s()
                if wait_s == 0:
                    self._launch()
                else:
                    await self._changed_within(wait_s)
        except Exception as error:
            log.exception("encode: the batcher failed")
            self._halt(_unexpected(error))

    def _next_due_s(self) -> float | None:
        with self._waiting_lock:
            waiting = max(0, self._images_waiting - self._unfilled * self._max_size)
            if self._unfilled and waiting < self._max_size:
                return None  # which images are left is known once those batches are filled
            oldest_s = min((block.arrived_s for block in self._waiting.heads()), default=0.0)
        return due_in_s(
            waiting=waiting,
            oldest_wait_s=self._clock.monotonic() - oldest_s,
            busy=len(self._running),
            max_size=self._max_size,
            max_wait_s=0 if self._closing else self._policy.max_wait_s,
            lanes=self._encoder.lanes,
            parallel=self._encoder.parallel,
        )

    async def _changed_within(self, wait_s: float | None) -> None:
        if wait_s is None:
            await self._changed.wait()
            return
        timers = (
            asyncio.ensure_future(self._clock.sleep(wait_s)),
            asyncio.ensure_future(self._changed.wait()),
        )
        try:
            await asyncio.wait(timers, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for timer in timers:
                timer.cancel()

    def _launch(self) -> None:
        self._pace.begin(self._clock.monotonic())
        with self._waiting_lock:
            self._unfilled += 1
        task = asyncio.create_task(self._encode(), name="batch")
        self._running.add(task)
        task.add_done_callback(self._finished)

    async def _encode(self) -> None:
        batch: list[_Block] = []
        try:
            loop = asyncio.get_running_loop()
            rows = await loop.run_in_executor(self._threads, self._encode_in_thread, batch, loop)
        except (Halt, WorkerLost) as end:
            self._halt(end, batch)
        except Exception as error:
            log.exception("encode: the encoder broke its contract")
            self._halt(_lost(error) if ends_worker(error) else _unexpected(error), batch)
        else:
            first = 0
            for block in batch:
                end_of_block = first + len(block.pixels)
                if not block.waiter.done():
                    block.waiter.set_result(rows[first:end_of_block])
                first = end_of_block
        finally:
            images = sum(len(block.pixels) for block in batch)
            self._pace.finish(images, self._clock.monotonic())

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._changed.set()

    def _encode_in_thread(
        self, batch: list[_Block], loop: asyncio.AbstractEventLoop
    ) -> list[Vector | Reject]:
        """Fill the batch with the next images, and encode it."""
        self._take(batch)
        loop.call_soon_threadsafe(self._changed.set)
        if not batch:
            return []
        # Copied into one array, unless a single block is the whole batch.
        parts = [block.pixels for block in batch]
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts)
        started_s = self._clock.monotonic()
        for block in batch:
            block.trace.enter("encode")
            self._meter.observe(STAGE_SECONDS, started_s - block.arrived_s, stage="queue")
        self._meter.observe(BATCH_SIZE, len(pixels))
        encoded = encode_rows(self._encoder, pixels, self._max_size)
        self._meter.observe(STAGE_SECONDS, self._clock.monotonic() - started_s, stage="encode")
        if encoded.max_size < self._max_size:
            log.warning(
                "encode: the device ran out of memory at %d images; batches are of %d from now on "
                "(batch.max_size = %d)",
                len(pixels),
                encoded.max_size,
                self._policy.largest,
            )
            self._max_size = encoded.max_size
            self._report_max_size()
        return encoded.rows

    def _take(self, batch: list[_Block]) -> None:
        """Take up to ``max_size`` images. ``encode_rows`` splits a last block that exceeds it."""
        taken = 0
        with self._waiting_lock:
            self._unfilled -= 1
            while taken < self._max_size and len(self._waiting):
                block = self._waiting.pop()
                self._images_waiting -= len(block.pixels)
                if not block.waiter.done():
                    batch.append(block)
                    taken += len(block.pixels)
            self._report_depth(self._images_waiting)

    def _halt(self, halt: Halt | WorkerLost, batch: Sequence[_Block] = ()) -> None:
        """Raise the failure in every waiting caller, each with an exception of its own."""
        self._halted = halt
        with self._waiting_lock:
            waiting = [self._waiting.pop() for _ in range(len(self._waiting))]
            self._images_waiting = 0
        for block in (*batch, *waiting):
            if not block.waiter.done():
                block.waiter.set_exception(type(halt)(halt.code, halt.message))
        self._report_depth(0)

    def _report_max_size(self) -> None:
        """Report the setting, or the fraction of it that still fits the device. Parallel lanes
        share the setting, so the size of one batch would be misleading."""
        setting = self._policy.largest
        whole = lane_share(setting, self._encoder.parallel)
        self._meter.set(MAX_BATCH, max(1, setting * min(self._max_size, whole) // whole))

    def _report_depth(self, waiting: int) -> None:
        self._meter.set(QUEUE_DEPTH, waiting, stage="encode")
