"""Hugging Face's inference client, whose model is the address of a route."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import pytest
from huggingface_hub import InferenceClient, close_session
from huggingface_hub.errors import BadRequestError

from tests.rigs.serve.listening import Listening

pytestmark = pytest.mark.component


@pytest.fixture(autouse=True, scope="module")
def closed_session() -> Iterator[None]:
    """All clients share one session."""
    yield
    close_session()


def asking(server: Listening, task: str) -> InferenceClient:
    return InferenceClient(model=f"{server.url}/hf/{task}", token="none")


def test_labels_of_the_request_are_scored_the_best_first(server: Listening, red: bytes) -> None:
    client = asking(server, "zero-shot-image-classification")
    found = client.zero_shot_image_classification(red, candidate_labels=["cat", "dog", "horse"])
    assert {each.label for each in found} == {"cat", "dog", "horse"}
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert sum(each.score for each in found) == pytest.approx(1)
    similarities = [each["similarity"] for each in found]
    assert similarities == sorted(similarities, reverse=True)


def test_a_template_of_the_request_is_filled(server: Listening, red: bytes) -> None:
    client = asking(server, "zero-shot-image-classification")
    plain, own = (
        client.zero_shot_image_classification(
            red, candidate_labels=["cat", "dog"], hypothesis_template=template
        )
        for template in (None, "an etching of {}")
    )
    assert {each.label: each.score for each in plain} != {each.label: each.score for each in own}


def test_an_image_is_scored_with_the_default_label_set(server: Listening, red: bytes) -> None:
    """Without parameters the client sends bare bytes of no content type, else JSON."""
    client = asking(server, "image-classification")
    bare = client.image_classification(red)
    (best,) = client.image_classification(red, top_k=1)
    assert len(bare) == 5
    assert best == bare[0]
    assert client.image_classification(red, function_to_apply="softmax") == bare
    (nearest, *_) = client.image_classification(red, function_to_apply="none")
    assert nearest.score == nearest["similarity"]


def test_texts_and_images_are_embedded(server: Listening, red: bytes, red_uri: str) -> None:
    client = asking(server, "feature-extraction")
    one = client.feature_extraction("a cat")
    several = client.feature_extraction(["a cat", "a dog"], normalize=True)
    assert one.shape == (1, 64)
    assert several.shape == (2, 64)
    assert np.array_equal(one[0], several[0])
    assert np.linalg.norm(client.feature_extraction(red_uri)) == pytest.approx(1)


def test_an_error_reads_as_a_sentence(server: Listening) -> None:
    broken = base64.b64decode("aXQgaXMgbm8gaW1hZ2U=")
    client = asking(server, "image-classification")
    with pytest.raises(BadRequestError) as refused:
        client.image_classification(broken)
    assert refused.value.server_message is not None
    assert "{" not in refused.value.server_message
    assert refused.value.response.headers["x-error-message"] == refused.value.server_message


@pytest.mark.parametrize(
    ("labels", "template", "words"),
    [
        (["cat", "cat"], None, "'cat' is taken"),
        (["cat", "dog"], "no place for a label", "write {} once"),
        (["a " * 100, "dog"], None, "characters"),
    ],
)
def test_labels_that_cannot_be_told_apart_or_read_are_refused(
    server: Listening, red: bytes, labels: list[str], template: str | None, words: str
) -> None:
    client = asking(server, "zero-shot-image-classification")
    with pytest.raises(BadRequestError, match=words):
        client.zero_shot_image_classification(
            red, candidate_labels=labels, hypothesis_template=template
        )


def test_a_function_that_is_not_the_label_sets_is_refused(server: Listening, red: bytes) -> None:
    client = asking(server, "image-classification")
    with pytest.raises(BadRequestError, match="made for 'softmax'"):
        client.image_classification(red, function_to_apply="sigmoid")
