"""The stream, ``/v1/classify`` and ``/v1/embeddings`` say the same of the same bytes, on a real
model.

The same in int8 is in ``test_int8.py``, where a calibration is at hand.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
from pipeline.adapters.clip.vision.int8 import centred_cosines
from pipeline.records import EmbeddingDtype
from tests.rigs.serve.parity import (
    FAITHFUL,
    by_the_stream,
    embedded,
    embeddings,
    numbers,
    over_http,
    settings_of,
)
from tests.rigs.stages.decoding import STAND_INS, photos
from workers.demo.accuracy import LABELS_FILE
from workers.demo.train import MODEL_DIRECTORY

pytestmark = [pytest.mark.component]

PHOTOS = 100
ONE_BY_ONE = 10


@pytest.fixture(scope="module")
def bodies() -> list[bytes]:
    """A hundred photographs where the test data is at hand, else the few stand-ins."""
    some = photos()[:PHOTOS]
    assert len(some) == (PHOTOS if "CLIPSTREAM_TEST_DATA" in os.environ else STAND_INS)
    return some


def demo_model(precision: str) -> ClipEncoder:
    policy = {"directory": MODEL_DIRECTORY, "device": "cpu", "threads": 1, "precision": precision}
    return ClipEncoder.load(ModelPolicy.model_validate(policy))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_image_by_itself_is_answered_bit_for_bit_as_it_is_published(
    dtype: EmbeddingDtype, bodies: list[bytes]
) -> None:
    encoder = demo_model("fp32")
    settings = settings_of(LABELS_FILE, dtype)
    some = bodies[:ONE_BY_ONE]
    published = by_the_stream(encoder, settings, some, at_once=False)
    answered = over_http(encoder, settings, some, at_once=False)
    for one, other in zip(answered, published, strict=True):
        assert one.embedding.dtype == dtype
        assert one.embedding.tobytes() == other.embedding.tobytes()
        # JSON holds the shortest text of a number that reads back as the same bits.
        assert one.results == other.results
        assert one.embedded is not None
        np.testing.assert_array_equal(one.embedded, other.embedding)
        assert one.facts == other.facts


def test_photographs_in_batches_score_alike_in_fp32(bodies: list[bytes]) -> None:
    encoder = demo_model("fp32")
    settings = settings_of(LABELS_FILE)
    published = by_the_stream(encoder, settings, bodies, at_once=True)
    answered = over_http(encoder, settings, bodies, at_once=True)
    np.testing.assert_allclose(numbers(answered), numbers(published), rtol=0, atol=1e-5)
    np.testing.assert_allclose(embedded(answered), embeddings(published), rtol=0, atol=1e-5)
    assert [each.facts for each in answered] == [each.facts for each in published]
    decisions = [[result["decision"] for result in each.results] for each in answered]
    assert decisions == [[result["decision"] for result in each.results] for each in published]


def test_photographs_keep_their_embeddings_in_bf16(bodies: list[bytes]) -> None:
    encoder = demo_model("bf16")
    settings = settings_of(LABELS_FILE)
    published = by_the_stream(encoder, settings, bodies, at_once=True)
    answered = over_http(encoder, settings, bodies, at_once=True)
    assert {each.facts["precision"] for each in answered} == {"bf16"}
    assert centred_cosines(embeddings(answered), embeddings(published)).min() >= FAITHFUL
    assert centred_cosines(embedded(answered), embeddings(published)).min() >= FAITHFUL
