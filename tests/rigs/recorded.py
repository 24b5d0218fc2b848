"""Outcomes of the demo's images by the demo's model, as a worker publishes them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.adapters.label_files import load_label_sets
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.encode.policy import BatchPolicy
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.labels.scoring import compile_label_sets
from pipeline.metrics import IMAGE_METRICS
from pipeline.records import (
    Classification,
    ImageRef,
    Looked,
    Origin,
    OutputRecord,
    OutputTopic,
    Partition,
    Position,
)
from tests.rigs.root import ROOT
from workers.demo.accuracy import LABELS_FILE
from workers.demo.shapes import DemoImage, demo_images
from workers.stages import looking

MODEL_DIRECTORY = ROOT / "workers" / "demo" / "model"
BUCKET = "photos"
SEED = 20_261_129
DAY_MS = 24 * 3600 * 1000
BEGAN_MS = 1_767_225_600_000
"""2026-01-01, when the first image came."""


@dataclass(frozen=True, slots=True)
class Published:
    """One image and its records: a classification and an embedding."""

    image: DemoImage
    classification: OutputRecord
    embedding: OutputRecord


@cache
def demo_encoder() -> ClipEncoder:
    """The demo's model on this machine's CPU, as `explain` would load it."""
    return ClipEncoder.load(
        ModelPolicy(directory=MODEL_DIRECTORY, device="cpu", precision="fp32", threads=1)
    )


@cache
def published(
    count: int, apart_ms: int = DAY_MS // 100, files: tuple[Path, ...] = (LABELS_FILE,)
) -> tuple[Published, ...]:
    """The outcomes of ``count`` images, scored with the label sets of ``files``, by default the
    demo's. One image came every ``apart_ms``: by default a hundred a day."""
    encoder = demo_encoder()
    label_sets = load_label_sets(files)
    names = tuple(each.name for each in label_sets)
    scoring = compile_label_sets(label_sets, encoder.encode_texts, encoder.model)
    context = EventContext("cluster", "clipstream", {"references": "topic-id"}, "0.1.0")
    builder = EventBuilder(context, EventsPolicy())
    made = []
    for offset, (image, seen) in enumerate(_seen(count)):
        ref = ImageRef(BUCKET, image.key, names)
        etag = hashlib.md5(image.body, usedforsecurity=False).hexdigest()  # as S3's
        results = scoring.judge(names, seen)
        origin = Origin(
            Position(Partition("references", 0), offset),
            index=0,
            timestamp_ms=BEGAN_MS + offset * apart_ms,
            key=image.key.encode(),
        )
        records = builder.records(origin, Classification(ref, seen, results, etag, None))
        made.append(Published(image, *records))
    return tuple(made)


@cache
def _seen(count: int) -> tuple[tuple[DemoImage, Looked], ...]:
    """The images, and what the model sees in them."""
    images = tuple(demo_images(SEED, count))
    looked = asyncio.run(_looked(demo_encoder(), [image.body for image in images]))
    return tuple(zip(images, looked, strict=True))


def publish(
    kafka: KafkaPolicy, outcomes: Iterable[Published], embeddings: int | None = None
) -> None:
    """Send the records to their topics, as a worker does; only the first ``embeddings`` of them."""
    sent = list(outcomes)
    _send(kafka, OutputTopic.CLASSIFICATIONS, [each.classification for each in sent])
    _send(kafka, OutputTopic.EMBEDDINGS, [each.embedding for each in sent[:embeddings]])


def _send(kafka: KafkaPolicy, topic: OutputTopic, records: Sequence[OutputRecord]) -> None:
    with ReferenceProducer(kafka, kafka.output_topics.name(topic)) as producer:
        for record in records:
            producer.send(record.key, record.value, record.headers)


async def _looked(encoder: ClipEncoder, bodies: Iterable[bytes]) -> list[Looked]:
    meter = PrometheusMeter(IMAGE_METRICS)
    async with looking(encoder, meter, DecodePolicy(processes=1), BatchPolicy()) as seeing:
        return await asyncio.gather(*map(seeing.look, bodies))
