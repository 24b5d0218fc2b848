"""Runs a vision tower on pixels from numpy, in batches that its device was prepared for."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch

from pipeline.adapters.clip.vision.tower import VisionTower
from pipeline.encode.policy import SMALLEST_SIZE, lane_share
from pipeline.records import Pixels, Vector

log = logging.getLogger(__name__)

SIZE_STEP = 4
"""Each prepared size is a quarter of the next: a batch is filled up to less than four times its
size, and only while there is little to do."""

Run = Callable[[torch.Tensor], torch.Tensor]
"""uint8 [batch, side, side, 3] to unit vectors float32 [batch, dimension], on the device."""


def prepared_sizes(largest: int) -> tuple[int, ...]:
    """Batch sizes to prepare, ascending, for batches of up to ``largest`` images."""
    sizes = [largest]
    while sizes[0] > SMALLEST_SIZE:
        sizes.insert(0, max(SMALLEST_SIZE, -(-sizes[0] // SIZE_STEP)))
    return tuple(sizes)


class Lane:
    """A caller's resources while its batch is encoded: memory for images and for their vectors, and
    the way to the device. The device of this class is the CPU."""

    def __init__(self, run: Run, images: int, side: int, dimension: int, threads: int = 1) -> None:
        self._run = run
        self._threads = threads
        self.pixels = torch.zeros((images, side, side, 3), dtype=torch.uint8)
        self.vectors = torch.zeros((images, dimension))

    def prepare(self, size: int) -> None:
        """Prepare for batches of this size, and try one.

        Raises:
            RuntimeError, MemoryError: the device cannot run it.
        """
        self.compute(size, size)

    def compute(self, size: int, count: int) -> None:
        """Fill the first ``count`` vectors from the first pixels, in a batch of ``size``. Pixels
        beyond ``count`` do not affect them."""
        # OpenMP keeps this number for each calling thread, starting from OMP_NUM_THREADS (which Ray
        # sets to 1). If only the loading thread set it, the encoding thread would not have it.
        torch.set_num_threads(self._threads)
        with torch.inference_mode():
            self.vectors[:size] = self._run(self.pixels[:size])


class VisionEngine:
    """A vision tower and the lanes to it. As many threads as there are lanes may call ``encode`` at
    a time; more threads wait. ``parallel`` of the lanes compute at a time.

    With ``sizes`` (ascending), batches have only these sizes, and smaller batches are filled up.
    Without, batches may have any size.
    """

    def __init__(
        self, lanes: Sequence[Lane], largest: int, sizes: Sequence[int] = (), parallel: int = 1
    ) -> None:
        self.lanes = len(lanes)
        self.parallel = parallel
        self._lanes = tuple(lanes)
        self.largest = largest
        self._sizes = tuple(sizes)
        self._dimension = lanes[0].vectors.shape[1]
        self._free: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        for lane in lanes:
            self._free.put(lane)

    @classmethod
    def on_cpu(
        cls,
        tower: VisionTower,
        *,
        side: int,
        largest: int,
        compiled: bool,
        lanes: int,
        threads: int,
    ) -> VisionEngine:
        """``side`` is the edge of an image in pixels. The lanes share the threads, and ``largest``,
        the most images that are encoded at a time; see ``lane_share``."""
        run: Run = tower
        if compiled:
            # Frozen, so that weights are packed once, as the processor needs them.
            run = torch.compile(tower, dynamic=False, fullgraph=True, options={"freezing": True})
        return cls.in_parallel(
            [run] * lanes,
            side=side,
            dimension=tower.dimension,
            largest=largest,
            threads=threads,
            prepared=compiled,
        )

    @classmethod
    def in_parallel(
        cls,
        runs: Sequence[Run],
        *,
        side: int,
        dimension: int,
        largest: int,
        threads: int,
        prepared: bool,
    ) -> VisionEngine:
        """A lane for each of ``runs``, all of which compute at the same time; see ``on_cpu``. With
        ``prepared``, only in batches of prepared sizes."""
        share = max(1, threads // len(runs))
        images = lane_share(largest, len(runs))
        lanes = [Lane(run, images, side, dimension, share) for run in runs]
        return cls(lanes, images, prepared_sizes(images) if prepared else (), parallel=len(runs))

    def prepare(self) -> None:
        """Prepare every lane for every batch size, which takes seconds to minutes. A size that does
        not fit the device's memory is dropped, with all larger ones: larger batches are then
        encoded in parts. Call this before anything is encoded.

        Raises:
            RuntimeError, MemoryError: the device cannot run the smallest size.
        """
        fitting: tuple[int, ...] = ()
        for size in self._sizes or (1,):
            started = time.monotonic()
            try:
                self._prepare(size)
            except torch.OutOfMemoryError:
                if not fitting:
                    raise
                log.warning(
                    "encode: batches of %d images do not fit the device's memory; they are encoded "
                    "in parts of %d: lower batch.max_size, or free the device",
                    size,
                    fitting[-1],
                )
                self.largest = fitting[-1]
                break
            fitting += (size,)
            log.info("encode: ready for batches of %d, %.1f s", size, time.monotonic() - started)
        if self._sizes:
            self._sizes = fitting

    def _prepare(self, size: int) -> None:
        """The first lane compiles what all lanes share. Parallel lanes then follow at the same
        time."""
        first, *others = self._lanes
        first.prepare(size)
        if self.parallel == 1:
            for lane in others:
                lane.prepare(size)
        elif others:
            with ThreadPoolExecutor(len(others)) as threads:
                list(threads.map(lambda lane: lane.prepare(size), others))

    def encode(self, pixels: Pixels) -> Vector:
        """uint8 [batch, side, side, 3] in any layout to unit vectors float32 [batch, dimension].

        Raises:
            RuntimeError, MemoryError: raised by torch; the lane is free again.
        """
        vectors = np.empty((len(pixels), self._dimension), dtype=np.float32)
        for start in range(0, len(pixels), self.largest):
            part = pixels[start : start + self.largest]
            size = next((each for each in self._sizes if each >= len(part)), len(part))
            with self.lane() as lane:
                np.copyto(lane.pixels[: len(part)].numpy(), part)
                lane.compute(size, len(part))
                vectors[start : start + len(part)] = lane.vectors[: len(part)].numpy()
        return vectors

    @contextmanager
    def lane(self) -> Iterator[Lane]:
        """A lane for the caller alone, once one is free."""
        lane = self._free.get()
        try:
            yield lane
        finally:
            self._free.put(lane)
