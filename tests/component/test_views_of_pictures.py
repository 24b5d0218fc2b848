"""Pictures that hide something from the centred square, looked at by the demo's model."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
from pipeline.adapters.label_files import load_label_sets
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.decode.policy import DecodePolicy
from pipeline.encode.policy import BatchPolicy
from pipeline.errors import Halt
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.events.published import ClassificationEvent, EmbeddingEvent, as_text
from pipeline.labels.explaining import Explanation, explain
from pipeline.labels.scoring import CompiledLabelSet, compile_label_sets
from pipeline.metrics import IMAGE_METRICS
from pipeline.records import (
    Classification,
    ImageRef,
    Looked,
    Origin,
    OutputRecord,
    Partition,
    Position,
)
from tests.rigs.stages.decoding import as_file
from workers.cli import app
from workers.commands.evaluation import embedding
from workers.demo import train
from workers.demo.accuracy import LABELS_FILE
from workers.demo.shapes import coverage
from workers.stages import looking

GREY = (150, 150, 150)
RED = (225, 20, 20)
EDGE = 200


@pytest.fixture(scope="module")
def encoder() -> ClipEncoder:
    return ClipEncoder.load(
        ModelPolicy(directory=train.MODEL_DIRECTORY, device="cpu", precision="fp32", threads=1)
    )


@pytest.fixture(scope="module")
def shapes(encoder: ClipEncoder) -> CompiledLabelSet:
    (compiled,) = compile_label_sets(
        load_label_sets([LABELS_FILE]), encoder.encode_texts, encoder.model
    )
    return compiled


def picture(width: int, height: int, *, star_at: tuple[float, float] | None) -> Image.Image:
    """Grey, perhaps with a red star."""
    canvas = Image.new("RGB", (width, height), GREY)
    if star_at is not None:
        random = np.random.default_rng(5)
        mask = coverage(random, "star", (width, height), star_at, 0.42 * EDGE)
        canvas.paste(RED, mask=mask)
    return canvas


def animated(file_format: str, frames: Sequence[Image.Image]) -> bytes:
    first, *others = frames
    return as_file(first, file_format, save_all=True, append_images=others, duration=40)


def blank() -> Image.Image:
    return picture(EDGE, EDGE, star_at=None)


STAR = picture(EDGE, EDGE, star_at=(EDGE / 2, EDGE / 2))
HIDING = {
    "in a corner": as_file(picture(EDGE * 5 // 2, EDGE, star_at=(EDGE * 5 / 2 - 86, 86))),
    "at the end of a strip": as_file(
        picture(EDGE * 7, EDGE, star_at=(EDGE * 6.5, EDGE / 2)), "JPEG", quality=90
    ),
    "at the foot of a tall strip": as_file(
        picture(EDGE, EDGE * 5, star_at=(EDGE / 2, EDGE * 4.5)), "WEBP"
    ),
    "in the last frame": animated("GIF", [*[blank()] * 30, STAR]),
    "in the last frame of an APNG": animated("PNG", [*[blank()] * 4, STAR]),
}


def looked(encoder: ClipEncoder, bodies: Sequence[bytes], **decode: Any) -> list[Looked]:
    async def look() -> list[Looked]:
        policy = DecodePolicy.model_validate({"processes": 1, **decode})
        meter = MemoryMeter(IMAGE_METRICS)
        async with looking(encoder, meter, policy, BatchPolicy()) as seeing:
            return await asyncio.gather(*map(seeing.look, bodies))

    return asyncio.run(look())


def test_what_the_centre_hides_is_found_by_all_views(
    encoder: ClipEncoder, shapes: CompiledLabelSet
) -> None:
    centre = looked(encoder, list(HIDING.values()))
    everywhere = looked(encoder, list(HIDING.values()), views="all")
    for where, alone, views in zip(HIDING, centre, everywhere, strict=True):
        hidden = shapes.judge(alone)
        assert "red star" not in hidden.matched, where
        assert alone.views is None
        found = shapes.judge(views)
        assert (found.matched, found.decision) == (("red star",), "reject"), where
        # A batch of another shape adds up in another order.
        np.testing.assert_allclose(views.embedding, alone.embedding, rtol=0, atol=1e-6)
        assert views.views is not None
        (star,) = [score for score in found.scores if score.label == "red star"]
        assert star.view is not None
        place = views.views.places[star.view]
        if where.startswith("in the last frame"):
            assert place.frame == views.image.frames - 1
        else:
            assert max(place.right, place.bottom) == max(views.image.width, views.image.height)
        assert views.image.cropped_share < 0.1


def test_a_picture_that_hides_nothing_is_judged_alike(
    encoder: ClipEncoder, shapes: CompiledLabelSet
) -> None:
    harmless = [as_file(picture(EDGE * 2, EDGE, star_at=None)), animated("GIF", [blank()] * 3)]
    for each in looked(encoder, harmless, views="all"):
        assert each.views is None or shapes.judge(each).decision == "none"


def test_the_tools_judge_what_all_views_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`labels test` looks at images as a worker with the same settings does, again from its
    cache."""
    monkeypatch.setattr(embedding, "CACHE", tmp_path / "embeddings")
    monkeypatch.setenv("CLIPSTREAM_LABEL_SETS__TEXT_CACHE_DIR", str(tmp_path / "texts"))
    images = tmp_path / "sample/red star"
    images.mkdir(parents=True)
    for number, body in enumerate(HIDING.values()):
        (images / f"{number}.png").write_bytes(body)
    words = ["labels", "test", str(LABELS_FILE), "--images", str(images.parent), "--json"]
    settings = ["-s", f"model.directory={train.MODEL_DIRECTORY}", "-s", "model.device=cpu"]
    recalls: dict[str, list[int]] = {}
    for views in ("centre", "all", "all"):
        run = [*words, *settings, "-s", f"decode.views={views}", "-s", "decode.processes=1"]
        result = CliRunner().invoke(app, run)
        found = json.loads(result.stdout)
        (star,) = [label for label in found["labels"] if label["name"] == "red star"]
        recalls.setdefault(views, []).append(star["thresholds"]["act_threshold"]["recall"]["hits"])
    assert recalls == {"centre": [0], "all": [len(HIDING), len(HIDING)]}


def explain_again(
    event: Any, vector_record: OutputRecord, encoder: ClipEncoder, shapes: CompiledLabelSet
) -> None:
    """`clipstream explain` finds what is published, and what was altered."""
    vector = EmbeddingEvent.of(vector_record.value, as_text(vector_record.headers)).vector

    def explained(value: Any) -> Explanation:
        told = ClassificationEvent.of(value, {})
        (result,) = told.results
        return explain(shapes, encoder.encode_texts, told.looked(vector), result)

    assert explained(event).differences == ()
    assert {each.view for each in explained(event).labels if each.label == "red star"} != {0}
    without_views = {name: field for name, field in event.items() if name != "views"}
    assert explained(without_views).differences
    bare = [{**view} for view in event["views"]]
    del bare[0]["embedding"]
    with pytest.raises(Halt, match="publish embeddings"):
        explained({**event, "views": bare})


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_score_of_an_event_follows_from_what_the_event_says(
    encoder: ClipEncoder, shapes: CompiledLabelSet, dtype: str
) -> None:
    body = HIDING["at the end of a strip"]

    async def look() -> Looked:
        policy = DecodePolicy(processes=1, views="all")
        meter = MemoryMeter(IMAGE_METRICS)
        kind: Any = dtype
        async with looking(encoder, meter, policy, BatchPolicy(), dtype=kind) as seeing:
            return await seeing.look(body)

    seen = asyncio.run(look())
    outcome = Classification(
        ImageRef("b", "k", ("shapes",)), seen, (shapes.judge(seen),), "etag", None
    )
    context = EventContext("cluster", "group", {"t": "id"}, "1")
    origin = Origin(Position(Partition("t", 0), 1), 0, 0)
    published, vector_record = EventBuilder(context, EventsPolicy()).records(origin, outcome)
    event = json.loads(published.value)
    explain_again(event, vector_record, encoder, shapes)

    assert dict(vector_record.headers)["embedding.dtype"].decode() == dtype
    element = np.dtype(dtype).newbyteorder("<")
    vectors = [
        np.frombuffer(base64.b64decode(view["embedding"]), element) for view in event["views"]
    ]
    assert vector_record.value == base64.b64decode(event["views"][0]["embedding"])
    labels = shapes.label_vectors.astype(np.float64)
    similarities = np.stack(vectors).astype(np.float64) @ labels.T
    powers = np.exp(event["model"]["logit_scale"] * (similarities - 1))
    scores = powers / powers.sum(axis=1, keepdims=True)
    for place, told in enumerate(event["results"][0]["scores"]):
        assert told["view"] == scores[:, place].argmax()
        assert told["score"] == pytest.approx(scores[:, place].max(), abs=1e-9)
        assert told["similarity"] == pytest.approx(similarities[told["view"], place], abs=1e-9)

    (bare,) = EventBuilder(context, EventsPolicy(embeddings=False)).records(origin, outcome)
    assert all("embedding" not in view for view in json.loads(bare.value)["views"])
