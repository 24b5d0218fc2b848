"""A stream worker's pipeline with a store, decoder and model that cost nothing, and whose outcome
for a reference is the same wherever and however often it is computed."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager

import numpy as np

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.errors import Reject
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.flow import Flow
from pipeline.labels.parsing import parse_label_set
from pipeline.labels.scoring import compile_label_sets
from pipeline.look import Encoding, Look
from pipeline.metrics import IMAGE_METRICS
from pipeline.ports import UNTRACED, Encoder, ImageTrace
from pipeline.records import (
    DecodedImage,
    Entry,
    Headers,
    ImageFacts,
    ImageGeometry,
    ImageRef,
    JsonValue,
    ObjectBody,
    OutputRecord,
    Pixels,
    Record,
    Skipped,
    Vector,
)
from pipeline.references import ReferencesPolicy, parse
from pipeline.routes import Route, Router
from tests.rigs.stages.fault_steps import Step
from workers.label_sets import Rules

BUCKET = "images"
MISSING = "missing"
"""Keys that begin so name no object."""
SIDE = 8
LONGEST_WAIT_S = 0.03

LABEL_SET: JsonValue = {
    "name": "chaos",
    "decision": "exclusive",
    "actions": ["review", "allow"],
    "default_action": "allow",
    "review_action": "review",
    "labels": [
        {"name": "cat", "prompts": ["a cat"], "review_threshold": 0.5},
        {"name": "dog", "prompts": ["a dog"], "review_threshold": 0.5},
    ],
}

Reach = Callable[[Step], None]


def nowhere(_: Step) -> None:
    """For a run without faults."""


class FakeStages:
    """Fetch and decode, taking a little time that differs from object to object."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    @asynccontextmanager
    async def fetch(
        self, ref: ImageRef, level: int = 0, source: Hashable = None
    ) -> AsyncIterator[ObjectBody]:
        self._reach(Step.FETCH)
        await asyncio.sleep(LONGEST_WAIT_S * (zlib.crc32(ref.key.encode()) % 100) / 100)
        if ref.key.startswith(MISSING):
            raise Reject("fetch.not_found", "fetch: no such object")
        body = ref.key.encode()
        yield ObjectBody(body, hashlib.md5(body, usedforsecurity=False).hexdigest(), None)

    async def decode(
        self,
        body: bytes,
        geometry: ImageGeometry,
        content_encoding: str | None = None,
        level: int = 0,
    ) -> DecodedImage:
        self._reach(Step.DECODE)
        shade = zlib.crc32(body) % 256
        pixels = np.full((geometry.crop, geometry.crop, 3), shade, np.uint8)
        return DecodedImage(pixels, ImageFacts("PNG", geometry.crop, geometry.crop, 1, 0.0))

    async def close(self) -> None: ...


class FakeEncoder(MemoryEncoder):
    def __init__(self, reach: Reach) -> None:
        super().__init__(dimension=16, crop=SIDE)
        self._reach = reach

    def encode_images(self, pixels: Pixels) -> Vector:
        self._reach(Step.ENCODE)
        return super().encode_images(pixels)


class Unbatched:
    """One image at a time, for the run that the others are compared with."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    async def encode(self, pixels: Pixels, level: int = 0, trace: ImageTrace = UNTRACED) -> Vector:
        vector: Vector = self._encoder.encode_images(pixels[np.newaxis])[0]
        return vector

    async def encode_block(
        self, pixels: Pixels, level: int = 0, trace: ImageTrace = UNTRACED
    ) -> list[Vector | Reject]:
        return [await self.encode(each, level, trace) for each in pixels]


class ReachingRouter(Router):
    """Reaches a step when a record is admitted."""

    def __init__(self, reach: Reach, label_set: str) -> None:
        super().__init__((), [label_set])
        self._reach = reach

    def open_to(self, topic: str, headers: Headers) -> tuple[Route, ...]:
        self._reach(Step.ADMIT)
        return super().open_to(topic, headers)


def rules_of(encoder: Encoder, reach: Reach = nowhere) -> Rules:
    label_set = parse_label_set(LABEL_SET)
    compiled = compile_label_sets([label_set], encoder.encode_texts, encoder.model)
    router = ReachingRouter(reach, label_set.name)
    return Rules(router, compiled, {label_set.name: label_set.version})


def flow_of(stages: FakeStages, encoder: Encoder, encoding: Encoding) -> Flow:
    clock, meter = SystemClock(), PrometheusMeter(IMAGE_METRICS)
    look = Look(stages, encoding, encoder, DecodePolicy(), "float32", clock, meter)
    return Flow(stages, look, clock, meter)


Place = tuple[int, int, int]
"""Partition, offset and index of a reference."""


def expected_outcomes(
    records: list[Record], context: EventContext
) -> dict[Place, tuple[OutputRecord, ...]]:
    """What a run without faults publishes for each reference; nothing for one that is skipped."""
    encoder = FakeEncoder(nowhere)
    flow = flow_of(FakeStages(nowhere), encoder, Unbatched(encoder))
    rules = rules_of(encoder)
    builder = EventBuilder(context, EventsPolicy())

    async def published(entry: Entry) -> tuple[OutputRecord, ...]:
        content = entry.content
        if isinstance(content, ImageRef):
            return builder.records(entry.origin, await flow.classify(content, rules.scoring))
        return builder.records(entry.origin, content, entry.record)

    async def all_of_them() -> dict[Place, tuple[OutputRecord, ...]]:
        entries = {
            (record.position.partition.number, record.position.offset, index): entry
            for record in records
            for index, entry in enumerate(parse(record, ReferencesPolicy(), rules.router))
            if not isinstance(entry.content, Skipped)
        }
        outcomes = await asyncio.gather(*map(published, entries.values()))
        return dict(zip(entries, outcomes, strict=True))

    return asyncio.run(all_of_them())
