"""A stream worker in a Ray actor whose images take a fixed time: built as in production, but for a
store and a decoder that cost nothing and an encoder that takes no processor, as a device does."""

from __future__ import annotations

from tests.rigs.stages.at_no_cost import FixedTimeEncoder, NullDecoder, NullStore
from workers import decoding, stores
from workers.settings.loading import Settings
from workers.stream import wiring
from workers.stream.wiring import BuiltStreamWorker


def build(group: str, batch_s: float, settings: Settings, slot: int) -> BuiltStreamWorker:
    """With its first two arguments bound, a ``workers.cluster.actors.Build``."""
    vars(stores).update(ObstoreS3=NullStore)
    vars(decoding).update(SandboxedDecoder=NullDecoder)
    vars(wiring).update(require_node=lambda _: None)
    kafka = settings.kafka.model_copy(update={"group": group})
    settings = settings.model_copy(update={"kafka": kafka})
    return wiring.build_stream_worker(settings, slot, lambda _: FixedTimeEncoder(batch_s))
