"""A worker for ``scaling``, in a Ray actor: built as in production, but for a store and a decoder
that cost nothing and an encoder that takes a fixed time and no processor, as a device does."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from pipeline.records import ObjectBody, Pixels, Vector
from tests.benchmarks.between_worker import NullDecoder, NullEncoder
from workers import stages, stores
from workers.settings.loading import Settings
from workers.stream import wiring
from workers.stream.wiring import BuiltStreamWorker


class FixedTimeEncoder(NullEncoder):
    """Takes the same time for every batch, however full."""

    def __init__(self, batch_s: float) -> None:
        super().__init__()
        self._batch_s = batch_s

    def encode_images(self, pixels: Pixels) -> Vector:
        time.sleep(self._batch_s)
        return super().encode_images(pixels)


class NullStore:
    """Implements ``pipeline.ports.ObjectStore``: every object is there, at once."""

    def __init__(self, policy: object) -> None: ...

    async def fetch(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str | None,
        etag: str | None,
        max_bytes: int,
        on_answer: Callable[[], Awaitable[None]],
    ) -> ObjectBody:
        await on_answer()
        return ObjectBody(b"image", "etag", None)

    async def close(self) -> None: ...


def build(group: str, batch_s: float, settings: Settings, slot: int) -> BuiltStreamWorker:
    """With its first two arguments bound, a ``workers.cluster.actors.Build``."""
    vars(stores).update(ObstoreS3=NullStore)
    vars(stages).update(SandboxedDecoder=NullDecoder)
    vars(wiring).update(require_node=lambda _: None)
    kafka = settings.kafka.model_copy(update={"group": group})
    settings = settings.model_copy(update={"kafka": kafka})
    return wiring.build_stream_worker(settings, slot, lambda _: FixedTimeEncoder(batch_s))
