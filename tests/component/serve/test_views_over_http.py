"""Images that the model sees in several views, or only in part, over HTTP."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.decode.policy import DecodePolicy
from pipeline.labels.label_set import LabelSetsPolicy
from tests.rigs.serve.application import application, served
from tests.rigs.stages.decoding import as_file
from workers.settings.loading import Settings

pytestmark = pytest.mark.component

LABEL_SET = """
name: moderation
decision: independent
actions: [block, review, allow]
default_action: allow
act_action: block
review_if: {frames: 2}
contrast: [a meadow]
labels:
  - {name: weapon, prompts: [a gun], act_threshold: 1}  # never, of an encoder without a model
"""


@pytest.fixture
def label_sets(tmp_path: Path) -> LabelSetsPolicy:
    file = tmp_path / "moderation.yaml"
    file.write_text(LABEL_SET)
    return LabelSetsPolicy(paths=(file,), text_cache_dir=None)


def views(**sections: Any) -> Settings:
    return served(decode=DecodePolicy(processes=1, views="all", max_views=5), **sections)


def animation(frames: int) -> bytes:
    pictures = [Image.new("RGB", (64, 64), (0, shade * 9, 90)) for shade in range(frames)]
    return as_file(pictures[0], "GIF", save_all=True, append_images=pictures[1:], duration=40)


def answered(settings: Settings, path: str, body: dict[str, Any]) -> Any:
    async def ask() -> Any:
        async with application(settings) as (client, _):
            answer = await client.post(path, json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

    return asyncio.run(ask())


def inline(body: bytes) -> str:
    return base64.b64encode(body).decode()


def test_an_answer_lists_the_views_and_each_score_names_its_own(
    label_sets: LabelSetsPolicy,
) -> None:
    asked = {"image": inline(animation(12)), "label_set": "moderation", "embedding": "base64"}
    (image,) = answered(views(label_sets=label_sets), "/v1/classify", asked)["images"]
    assert [(view["kind"], view["frame"]) for view in image["views"]] == [
        ("centre", frame) for frame in (0, 2, 5, 8, 11)
    ]
    assert image["views"][0]["embedding"] == image["embedding"]
    assert (image["image"]["frames"], image["image"]["frames_seen"]) == (12, 5)
    (result,) = image["results"]
    assert all(score["view"] in range(5) for score in result["scores"])
    assert (result["decision"], result["raised"], result["labels_decision"]) == (
        "review",
        ["frames"],
        "allow",
    )
    asked.pop("embedding")
    (bare,) = answered(views(label_sets=label_sets), "/v1/classify", asked)["images"]
    assert not any("embedding" in view for view in bare["views"])


def test_an_animation_that_was_seen_whole_is_judged_by_its_labels_alone(
    label_sets: LabelSetsPolicy,
) -> None:
    asked = {"image": inline(animation(3)), "label_set": "moderation"}
    (image,) = answered(views(label_sets=label_sets), "/v1/classify", asked)["images"]
    assert image["image"]["frames_seen"] == 3
    assert "raised" not in image["results"][0]


def test_by_default_an_animation_is_flagged_because_only_its_first_frame_was_seen(
    label_sets: LabelSetsPolicy,
) -> None:
    data = f"data:image/gif;base64,{inline(animation(3))}"
    body = {"input": data, "model": "moderation"}
    (result,) = answered(served(label_sets=label_sets), "/v1/moderations", body)["results"]
    assert (result["flagged"], result["raised"], result["decision"]) == (True, ["frames"], "review")
    assert not any(result["categories"].values())
    still = f"data:image/png;base64,{inline(as_file(Image.new('RGB', (64, 64))))}"
    body = {"input": still, "model": "moderation"}
    (result,) = answered(served(label_sets=label_sets), "/v1/moderations", body)["results"]
    assert (result["flagged"], result["raised"], result["decision"]) == (False, [], "allow")


def test_the_embedding_of_an_image_is_that_of_its_centre() -> None:
    wide = {"image": inline(as_file(Image.new("RGB", (128, 32), (9, 200, 30))))}
    found = [
        np.array(answered(settings, "/v1/embeddings", {"input": [wide]})["data"][0]["embedding"])
        for settings in (views(), served())
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-6)
