"""A stream worker's pipeline with a store, decoder and model that cost nothing, and whose outcome
for a reference is the same wherever and however often it is computed."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from functools import partial

import numpy as np

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.errors import Reject
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.flow import Encoding, Flow
from pipeline.labels.parsing import parse_label_set
from pipeline.labels.scoring import compile_label_sets
from pipeline.ports import Encoder
from pipeline.priority import Turns
from pipeline.records import (
    Classification,
    DeadLetter,
    DecodedImage,
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
from pipeline.routes import Router
from tests.fault.steps import Step
from workers.stream.rules import Rules

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
        self, body: bytes, geometry: ImageGeometry, content_encoding: str | None = None
    ) -> DecodedImage:
        self._reach(Step.DECODE)
        shade = zlib.crc32(body) % 256
        pixels = np.full((geometry.crop, geometry.crop, 3), shade, np.uint8)
        return DecodedImage(pixels, "PNG", geometry.crop, geometry.crop, 1, 0.0)

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

    async def encode(self, pixels: Pixels, level: int = 0) -> Vector:
        vector: Vector = self._encoder.encode_images(pixels[np.newaxis])[0]
        return vector


def rules_of(encoder: Encoder, reach: Reach = nowhere) -> Rules:
    label_set = parse_label_set(LABEL_SET)
    router = Router((), [label_set.name])

    def parsed(record: Record) -> tuple[ImageRef | Skipped | DeadLetter, ...]:
        reach(Step.ADMIT)
        return tuple(parse(record, policy=ReferencesPolicy(), router=router))

    compiled = compile_label_sets([label_set], encoder.encode_texts, encoder.model)
    return Rules(parsed, compiled, {label_set.name: label_set.version})


def flow_of(stages: FakeStages, encoder: Encoder, encoding: Encoding) -> Flow:
    return Flow(
        stages,
        stages,
        Turns(64),
        encoding,
        model=encoder.model,
        geometry=encoder.geometry,
        decode_mode="strict",
        decode_crop="transformers",
        embedding_dtype="float32",
        clock=SystemClock(),
        meter=PrometheusMeter(),
    )


Entry = tuple[int, int, int]
"""Partition, offset and index of a reference."""


def expected_outcomes(
    records: list[Record], context: EventContext
) -> dict[Entry, tuple[OutputRecord, ...]]:
    """What a run without faults publishes for each reference; nothing for one that is skipped."""
    encoder = FakeEncoder(nowhere)
    flow = flow_of(FakeStages(nowhere), encoder, Unbatched(encoder))
    rules = rules_of(encoder)
    builder = EventBuilder(context, EventsPolicy())
    classify = partial(flow.classify, scoring=rules.scoring)

    async def outcome(entry: ImageRef | DeadLetter) -> Classification | DeadLetter:
        return await classify(entry) if isinstance(entry, ImageRef) else entry

    async def all_of_them() -> dict[Entry, tuple[OutputRecord, ...]]:
        entries = {
            (record.position.partition, record.position.offset, index): entry
            for record in records
            for index, entry in enumerate(rules.parse(record))
            if not isinstance(entry, Skipped)
        }
        outcomes = await asyncio.gather(*map(outcome, entries.values()))
        return {place: builder.records(each) for place, each in zip(entries, outcomes, strict=True)}

    return asyncio.run(all_of_them())
