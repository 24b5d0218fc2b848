"""Models and decoders that cost nothing, as a replica loads them. A module of its own, because a
replica imports what the driver's program names."""

from __future__ import annotations

from pipeline.ports import Encoder
from tests.rigs.stages.at_no_cost import NullDecoder, NullEncoder
from workers import decoding
from workers.settings.loading import Settings


def no_model(settings: Settings) -> Encoder:
    """The replica decodes, and the model costs nothing."""
    return NullEncoder()


def nothing(settings: Settings) -> Encoder:
    """The replica neither decodes nor encodes."""
    vars(decoding).update(SandboxedDecoder=NullDecoder)
    return NullEncoder()
