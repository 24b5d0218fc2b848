"""Texts and images are embedded into one space, so that a text finds its image."""

from __future__ import annotations

import asyncio
import base64

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
from pipeline.labels.label_set import LabelSetsPolicy
from tests.rigs.serve.application import application, served
from workers.demo import train
from workers.demo.accuracy import LABELS_FILE
from workers.demo.shapes import LABELS, NOTHING, demo_images

pytestmark = pytest.mark.component

SEED = 20_260_102
"""Not among the seeds of the model's training."""


def test_the_image_that_is_nearest_to_a_text_shows_what_the_text_says() -> None:
    shown = {each.truth: each.body for each in demo_images(SEED, 2 * len(LABELS))}
    del shown[NOTHING]
    images = dict(list(shown.items())[:12])
    texts = [f"a picture of a {truth}" for truth in images]
    encoder = ClipEncoder.load(
        ModelPolicy(directory=train.MODEL_DIRECTORY, device="cpu", precision="fp32", threads=1)
    )
    settings = served(label_sets=LabelSetsPolicy(paths=(LABELS_FILE,), text_cache_dir=None))

    async def embedded() -> npt.NDArray[np.float64]:
        async with application(settings, encoder) as (client, _):
            answer = await client.post(
                "/v1/embeddings",
                json={
                    "input": [
                        *({"image": base64.b64encode(body).decode()} for body in images.values()),
                        *texts,
                    ]
                },
            )
            assert answer.status_code == 200, answer.text
            return np.array([each["embedding"] for each in answer.json()["data"]])

    vectors = asyncio.run(embedded())
    similarities = vectors[len(images) :] @ vectors[: len(images)].T
    assert similarities.argmax(axis=1).tolist() == list(range(len(images)))
