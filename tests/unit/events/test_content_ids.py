"""Content ids: what has one id, and what has another."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.adapters.parquet.columns import Stored
from pipeline.adapters.parquet.results import ResultsFile
from pipeline.backfill.rows import PlanRow
from pipeline.content import content_id
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.events.served import ServedEvents, ServedImage
from pipeline.records import (
    Classification,
    ImageFacts,
    ImageRef,
    Looked,
    ModelIdentity,
    Origin,
    Partition,
    Position,
)
from tests.golden.run import EVENTS
from tests.rigs.root import ROOT
from workers.serve.images import Seen
from workers.serve.routes.classify.answer import image_value

SHA256 = "ab" * 32
MODEL = ModelIdentity("clip", "r1", 2, 100.0, "fp32", "torch-cpu")
LOOKED = Looked(
    embedding=np.array([0.6, 0.8], dtype="<f4"),
    model=MODEL,
    image=ImageFacts("JPEG", 40, 30, 1, 0.25),
    sha256=SHA256,
    size_bytes=7,
    decode_mode="strict",
    decode_crop="transformers",
)
URI = "s3://photos/caf\u00e9 \udc80.jpg"


def as_documented(uri: str, version: str, looked: Looked = LOOKED) -> str:
    """The recipe of docs/events.md."""
    model = looked.model
    seen_by = [model.name, model.revision, model.precision, looked.decode_mode, looked.decode_crop]
    name = json.dumps([uri, version, *seen_by], separators=(",", ":"))
    return hashlib.sha256(name.encode()).hexdigest()[:32]


@pytest.mark.parametrize(
    ("etag", "version_id", "version"),
    [
        ("e", "v", "v"),
        ("e", None, "e"),
        # A bucket that keeps no versions any more writes every object as this one.
        ("e", "null", "e"),
        (None, None, f"sha256:{SHA256}"),
        (None, "null", f"sha256:{SHA256}"),
    ],
)
def test_the_version_is_what_pins_the_bytes(
    etag: str | None, version_id: str | None, version: str
) -> None:
    assert content_id(LOOKED, URI, etag, version_id) == as_documented(URI, version)


def test_bytes_without_a_name_are_named_by_their_hash() -> None:
    named = f"sha256:{SHA256}"
    assert content_id(LOOKED, None) == as_documented(named, named)


def test_a_content_id_never_changes_between_releases() -> None:
    assert content_id(LOOKED, "s3://photos/cat.jpg", "e") == "717770d3f317640b77194d163cb58711"


def test_the_recipe_of_the_page_gives_the_ids_of_published_events() -> None:
    page = (ROOT / "docs/events.md").read_text(encoding="utf-8")
    (recipe,) = [
        block.split("```")[0] for block in page.split("```python\n") if "def content_id" in block
    ]
    names: dict[str, Any] = {}
    exec(recipe, names)
    texts = [each["value"].get("text", "") for each in json.loads(EVENTS.read_text())]
    values = [json.loads(text) for text in texts if '"content_id"' in text]
    assert values
    for value in values:
        assert names["content_id"](value) == value["content_id"]


def test_the_stream_the_server_and_a_backfill_say_the_same_id() -> None:
    outcome = Classification(ImageRef("photos", "cat.jpg", ()), LOOKED, (), "e", "v")
    origin = Origin(Position(Partition("images", 0), 7), 0, 0)
    context = EventContext("cluster", "group", {"images": "id"}, "1")
    streamed, embedding = EventBuilder(context, EventsPolicy()).records(origin, outcome)
    uri = outcome.ref.uri
    image = ServedImage("request", "key", "/v1/classify", 0, uri, None)
    served, served_embedding = ServedEvents(EventsPolicy(), "1").looked_at(
        image, LOOKED, (), etag="e", version_id="v"
    )
    results = ResultsFile({}, Stored(2))
    results.write([(PlanRow(0, "photos", "cat.jpg"), outcome)])
    table = pq.read_table(io.BytesIO(results.finish({})))
    assert {
        json.loads(streamed.value)["content_id"],
        dict(embedding.headers)["content.id"].decode(),
        json.loads(served.value)["content_id"],
        dict(served_embedding.headers)["content.id"].decode(),
        image_value(Seen(LOOKED, "e", "v"), (), False, uri)["content_id"],
        *table.column("content_id").to_pylist(),
    } == {content_id(LOOKED, uri, "e", "v")}


@pytest.mark.parametrize(
    "change",
    [
        {"model": replace(MODEL, name="other")},
        {"model": replace(MODEL, revision="r2")},
        {"model": replace(MODEL, precision="int8")},
        {"decode_mode": "fast"},
        {"decode_crop": "exact"},
    ],
)
def test_another_way_of_seeing_has_another_id(change: dict[str, Any]) -> None:
    assert content_id(replace(LOOKED, **change), URI, "e") != content_id(LOOKED, URI, "e")


@pytest.mark.parametrize(
    "change",
    [
        {"embedding": np.array([0.6, 0.8], dtype="<f2")},
        {"model": replace(MODEL, engine="torch-cuda")},
        {"size_bytes": 8},
    ],
)
def test_the_device_and_the_dtype_leave_the_id_alone(change: dict[str, Any]) -> None:
    assert content_id(replace(LOOKED, **change), URI, "e") == content_id(LOOKED, URI, "e")
