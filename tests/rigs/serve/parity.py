"""What the stream and the application say of the same images on the same model."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.adapters.memory.store import MemoryStore
from pipeline.encode.policy import BatchPolicy
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.fetch import Stores
from pipeline.labels.label_set import LabelSetsPolicy
from pipeline.metrics import IMAGE_METRICS, STORE_METRICS
from pipeline.ports import Encoder
from pipeline.records import EmbeddingDtype, ImageRef, Origin, Partition, Position
from tests.rigs.serve.application import application, served
from tests.rigs.stages.fetching import store_of
from workers.label_sets import load_scoring
from workers.settings.loading import Settings
from workers.stages import stages

A_REQUEST = 9
"""Images of one request. The batches that come of it are other ones than the stream's."""
AT_ONCE = 4
"""Requests at a time: as many as the application has room for."""

FAITHFUL = 0.999
"""Least centred cosine between two embeddings of one image in one precision."""


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of one image: facts that no model computes, results, and the embedding.

    ``embedded`` is what ``/v1/embeddings`` answers, where it was asked too.
    """

    facts: dict[str, Any]
    results: list[dict[str, Any]]
    embedding: npt.NDArray[np.float32] | npt.NDArray[np.float16]
    embedded: npt.NDArray[np.float32] | None = None


def embeddings(said: Sequence[Said]) -> npt.NDArray[np.float32]:
    return np.stack([each.embedding for each in said]).astype(np.float32)


def embedded(said: Sequence[Said]) -> npt.NDArray[np.float32]:
    """What ``/v1/embeddings`` answers of the images."""
    return np.stack([each.embedded for each in said if each.embedded is not None])


def numbers(said: Sequence[Said]) -> npt.NDArray[np.float64]:
    """Scores and similarities: [images, labels, 2]."""
    return np.array(
        [
            [
                (score["score"], score["similarity"])
                for result in each.results
                for score in result["scores"]
            ]
            for each in said
        ]
    )


def settings_of(label_set: Path, dtype: EmbeddingDtype = "float32") -> Settings:
    return served(
        label_sets=LabelSetsPolicy(paths=(label_set,), text_cache_dir=None),
        batch=BatchPolicy(max_size=16),
        events=EventsPolicy(embedding_dtype=dtype),
    )


def by_the_stream(
    encoder: Encoder, settings: Settings, bodies: Sequence[bytes], *, at_once: bool
) -> list[Said]:
    """What the stream publishes of each image, from its reference to its events."""
    builder = EventBuilder(EventContext("cluster", "group", {"topic": "id"}, "1"), settings.events)
    origin = Origin(Position(Partition("topic", 0), 0), 0, 0)
    store = MemoryStore()
    store.create_bucket("images")
    meter = MemoryMeter((*IMAGE_METRICS, *STORE_METRICS))

    async def main() -> list[Said]:
        async with stages(settings, encoder, meter, Stores([store_of(store)])) as path:
            rules = await asyncio.to_thread(
                load_scoring, settings.label_sets, encoder.model, path.batcher.encode_texts
            )

            async def say(index: int, body: bytes) -> Said:
                store.put("images", f"{index}.jpg", body)
                ref = ImageRef("images", f"{index}.jpg", tuple(rules.versions))
                outcome = await path.flow.classify(ref, rules.scoring)
                classification, embedding = builder.records(origin, outcome)
                value = json.loads(classification.value)
                size = {"size_bytes": value["object"]["size_bytes"]}
                sha256 = {"sha256": value["object"]["sha256"]}
                facts = value["image"] | value["model"] | size | sha256
                dtype = np.dtype(settings.events.embedding_dtype).newbyteorder("<")
                return Said(facts, value["results"], np.frombuffer(embedding.value, dtype))

            numbered = list(enumerate(bodies))
            if at_once:
                return await asyncio.gather(*(say(*each) for each in numbered))
            return [await say(*each) for each in numbered]

    return asyncio.run(main())


def over_http(
    encoder: Encoder, settings: Settings, bodies: Sequence[bytes], *, at_once: bool
) -> list[Said]:
    """What ``/v1/classify`` and ``/v1/embeddings`` answer of each image: sent one by one as they
    are, or several a request and several requests at the same time."""

    async def main() -> list[Said]:
        async with application(settings, encoder) as (client, _):

            async def embed(texts: Sequence[str]) -> list[npt.NDArray[np.float32]]:
                uris = [f"data:image/jpeg;base64,{text}" for text in texts]
                asked = {"model": encoder.model.name, "input": uris, "encoding_format": "base64"}
                answer = await client.post("/v1/embeddings", json=asked)
                assert answer.status_code == 200, answer.text
                return [
                    np.frombuffer(base64.b64decode(each["embedding"]), "<f4")
                    for each in answer.json()["data"]
                ]

            async def say(images: Sequence[bytes]) -> list[Said]:
                url = "/v1/classify?embedding=base64"
                texts = [base64.b64encode(image).decode() for image in images]
                if len(images) == 1:
                    answer = await client.post(url, content=images[0])
                else:
                    asked = {"images": texts, "embedding": "base64"}
                    answer = await client.post("/v1/classify", json=asked)
                assert answer.status_code == 200, answer.text
                body = answer.json()
                dtype = np.dtype(body["model"].pop("embedding_dtype")).newbyteorder("<")
                return [
                    Said(
                        image["image"] | body["model"] | {"sha256": image["sha256"]},
                        image["results"],
                        np.frombuffer(base64.b64decode(image["embedding"]), dtype),
                        embedded,
                    )
                    for image, embedded in zip(body["images"], await embed(texts), strict=True)
                ]

            if not at_once:
                return [said for body in bodies for said in await say([body])]
            turns = asyncio.Semaphore(AT_ONCE)

            async def in_turn(at: int) -> list[Said]:
                async with turns:
                    return await say(bodies[at : at + A_REQUEST])

            answers = await asyncio.gather(*map(in_turn, range(0, len(bodies), A_REQUEST)))
            return [said for answer in answers for said in answer]

    return asyncio.run(main())
