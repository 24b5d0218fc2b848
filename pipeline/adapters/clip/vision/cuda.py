"""Lanes to a CUDA device.

Several callers keep the device busy: while one batch is computed, the next is copied, and a third
is filled. A lane's memory on the host is pinned, so the device copies to and from it by itself. The
work for each batch size is recorded once as a CUDA graph and replayed, which costs one launch
instead of a hundred.
"""

from __future__ import annotations

import threading

import torch

from pipeline.adapters.clip.vision.engine import Lane, Run, VisionEngine, prepared_sizes
from pipeline.adapters.clip.vision.tower import VisionTower

LANES = 3

WARM_UP_CALLS = 3
"""Calls before a graph is recorded, in which libraries choose their kernels and take their
workspaces."""


class _Device:
    """What the lanes share. All graphs are replayed on one stream, one after the other, so that
    they can share the memory of their activations."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.launch = threading.Lock()
        self.activations = torch.cuda.graph_pool_handle()


class CudaLane(Lane):
    def __init__(self, run: Run, images: int, side: int, dimension: int, shared: _Device) -> None:
        super().__init__(run, images, side, dimension)
        self.pixels = self.pixels.pin_memory()
        self.vectors = self.vectors.pin_memory()
        self._shared = shared
        self._device_pixels = torch.zeros_like(self.pixels, device=shared.device)
        self._device_vectors = torch.zeros_like(self.vectors, device=shared.device)
        self._copies = torch.cuda.Stream(shared.device)  # type: ignore[no-untyped-call]
        # Waiting on this event sleeps instead of spinning, which leaves the core to other threads.
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def prepare(self, size: int) -> None:
        """Compile if asked to, and record the graph."""
        pixels, stream = self._device_pixels[:size], self._shared.stream
        with torch.inference_mode(), torch.cuda.stream(stream):
            for _ in range(WARM_UP_CALLS):
                self._run(pixels)
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._shared.activations, stream=stream):
                # Copied out of the shared memory, which the next replay overwrites.
                self._device_vectors[:size] = self._run(pixels)
        self._graphs[size] = graph
        self.compute(size, size)

    def compute(self, size: int, count: int) -> None:
        with torch.cuda.stream(self._copies):
            self._device_pixels[:count].copy_(self.pixels[:count], non_blocking=True)
        stream = self._shared.stream
        with self._shared.launch, torch.cuda.stream(stream):
            stream.wait_stream(self._copies)
            self.replay(size)
            self._copies.wait_stream(stream)
        with torch.cuda.stream(self._copies):
            self.vectors[:count].copy_(self._device_vectors[:count], non_blocking=True)
            self._done.record()
        self._done.synchronize()

    def replay(self, size: int) -> None:
        """Start computing, on the current stream, the vectors of the pixels on the device."""
        self._graphs[size].replay()


def cuda_engine(
    tower: VisionTower, device: torch.device, *, side: int, largest: int, compiled: bool
) -> VisionEngine:
    """A vision tower on a CUDA device, for ``LANES`` callers; see ``VisionEngine.on_cpu``."""
    on_device = tower.to(device)
    run: Run = on_device
    if compiled:
        run = torch.compile(on_device, dynamic=False, fullgraph=True)
    shared = _Device(device)
    lanes = [CudaLane(run, largest, side, tower.dimension, shared) for _ in range(LANES)]
    return VisionEngine(lanes, largest, prepared_sizes(largest))
