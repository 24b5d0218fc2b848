"""OpenAI's own Python client, with its base URL changed and nothing else."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import openai
import pytest

from pipeline.labels.categories import CATEGORIES
from tests.rigs.serve.listening import Listening

pytestmark = pytest.mark.component

MODEL = "openai/clip-vit-base-patch32"
TOKENS: Any = [[320, 2368]]


@pytest.fixture
def client(server: Listening) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key="none", max_retries=0) as client:
        yield client


def image_part(uri: str) -> Any:
    return {"type": "image_url", "image_url": {"url": uri}}


def test_an_image_is_moderated_and_all_categories_are_typed(
    client: openai.OpenAI, red_uri: str
) -> None:
    answer = client.moderations.create(input=red_uri, model="moderation")
    (result,) = answer.results
    assert answer.id.startswith("modr-")
    assert answer.model == "moderation"
    assert result.flagged == any(result.categories.model_dump().values())
    assert result.categories.hate is False
    assert result.categories.self_harm_intent is False
    assert 0 <= result.category_scores.violence_graphic <= 1
    assert result.category_applied_input_types.sexual == ["image"]
    assert result.category_applied_input_types.hate == []


def test_fields_of_our_own_reach_a_typed_client(client: openai.OpenAI, red_uri: str) -> None:
    answer: Any = client.moderations.create(input=red_uri, model="moderation")
    (result,) = answer.results
    assert isinstance(result.categories.weapon, bool)
    assert 0 <= result.category_scores.drugs <= 1
    assert result.label_set == "moderation"
    assert result.version.startswith("sha256:")
    assert result.decision in ("block", "review", "allow")
    assert set(answer.categories_not_covered) == set(CATEGORIES) - {
        "sexual", "violence", "violence/graphic",
    }  # fmt: skip
    assert answer.usage["images"] == 1


def test_a_list_of_images_has_a_result_each_and_a_list_of_parts_has_one(
    client: openai.OpenAI, red_uri: str, blue_uri: str
) -> None:
    red, blue = client.moderations.create(input=[red_uri, blue_uri], model="moderation").results
    (both,) = client.moderations.create(
        input=[image_part(red_uri), image_part(blue_uri)], model="moderation"
    ).results
    assert red.category_scores != blue.category_scores
    assert both.category_scores.sexual == max(
        red.category_scores.sexual, blue.category_scores.sexual
    )
    assert both.flagged == (red.flagged or blue.flagged)


@pytest.mark.parametrize("model", [None, "omni-moderation-latest", "text-moderation-stable"])
def test_openais_models_mean_a_label_set_that_covers_categories(
    client: openai.OpenAI, red_uri: str, model: str | None
) -> None:
    asked = openai.omit if model is None else model
    assert client.moderations.create(input=red_uri, model=asked).model == "moderation"


def test_a_text_is_never_passed_over_in_silence(client: openai.OpenAI, red_uri: str) -> None:
    text: Any = {"type": "text", "text": "I will find you"}
    with pytest.raises(openai.BadRequestError, match="texts are not moderated") as refused:
        client.moderations.create(input="I will find you")
    assert refused.value.code == "text_not_supported"
    with pytest.raises(openai.BadRequestError) as refused:
        client.moderations.create(input=[text, image_part(red_uri)])
    assert (refused.value.code, refused.value.param) == ("text_not_moderated", "input[0]")
    answer = client.moderations.create(
        input=[text, image_part(red_uri)], extra_body={"ignore_text": True}
    )
    (result,) = answer.results
    assert all(
        each in ([], ["image"])
        for each in result.category_applied_input_types.model_dump().values()
    )


def test_an_image_that_cannot_be_decoded_is_an_error(client: openai.OpenAI, red_uri: str) -> None:
    broken = "data:image/png;base64,aXQgaXMgbm8gaW1hZ2U="
    with pytest.raises(openai.BadRequestError) as refused:
        client.moderations.create(input=[image_part(red_uri), image_part(broken)])
    assert refused.value.code == "decode.unsupported_format"
    assert refused.value.param == "input[1]"
    assert refused.value.type == "invalid_request_error"


def test_a_text_and_an_image_are_embedded_in_the_default_format(
    client: openai.OpenAI, red_uri: str
) -> None:
    """The client asks for base64 and decodes it; as floats the numbers are the same."""
    items = ["a photo of a cat", red_uri]
    default = client.embeddings.create(model=MODEL, input=items)
    floats = client.embeddings.create(model=MODEL, input=items, encoding_format="float")
    assert [each.index for each in default.data] == [0, 1]
    for one, other in zip(default.data, floats.data, strict=True):
        assert one.embedding == other.embedding
        assert np.linalg.norm(one.embedding) == pytest.approx(1, abs=1e-6)
    assert default.model == MODEL
    assert default.usage.prompt_tokens == default.usage.total_tokens > 0


def test_base64_reaches_a_client_that_asks_for_it(client: openai.OpenAI, red_uri: str) -> None:
    answer = client.embeddings.create(model=MODEL, input=red_uri, encoding_format="base64")
    floats = client.embeddings.create(model=MODEL, input=red_uri, encoding_format="float")
    encoded: Any = answer.data[0].embedding
    vector = np.frombuffer(base64.b64decode(encoded), "<f4")
    assert vector.tolist() == floats.data[0].embedding


@pytest.mark.parametrize("convention", ["jina", "parts", "voyage", "cohere", "vllm", "infinity"])
def test_each_convention_of_images_gives_the_same_embedding(
    client: openai.OpenAI, red_uri: str, convention: str
) -> None:
    bare = red_uri.partition(",")[2]
    conventions: dict[str, dict[str, Any]] = {
        "jina": {"input": [{"image": bare}]},
        "parts": {"input": [image_part(red_uri)]},
        "voyage": {
            "extra_body": {
                "inputs": [{"content": [{"type": "image_base64", "image_base64": red_uri}]}]
            }
        },
        "cohere": {"input": [{"content": [image_part(red_uri)]}]},
        "vllm": {"extra_body": {"messages": [{"role": "user", "content": [image_part(red_uri)]}]}},
        "infinity": {"input": red_uri, "extra_body": {"modality": "image"}},
    }
    asked = {"input": openai.omit, **conventions[convention]}
    (found,) = client.embeddings.create(model=MODEL, **asked).data
    (expected,) = client.embeddings.create(model=MODEL, input=red_uri).data
    assert found.embedding == expected.embedding


def test_a_bad_image_is_left_out_where_the_caller_says_so(
    client: openai.OpenAI, red_uri: str
) -> None:
    items = ["a cat", "data:image/png;base64,aXQgaXMgbm8gaW1hZ2U=", red_uri]
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=MODEL, input=items)
    assert (refused.value.code, refused.value.param) == ("decode.unsupported_format", "input[1]")
    answer: Any = client.embeddings.create(
        model=MODEL, input=items, extra_body={"on_error": "omit"}
    )
    assert [each.index for each in answer.data] == [0, 2]
    (error,) = answer.errors
    assert (error["index"], error["code"]) == (1, "decode.unsupported_format")


def test_models_are_listed_and_found_by_an_id_with_a_slash(client: openai.OpenAI) -> None:
    models = {each.id: each for each in client.models.list()}
    assert list(models) == [MODEL, "general-objects", "moderation"]
    assert models[MODEL].owned_by == "openai"
    found: Any = client.models.retrieve(MODEL)
    assert (found.id, found.object, found.kind) == (MODEL, "model", "embedding")
    assert client.models.retrieve("clip-vit-base-patch32").id == MODEL
    assert client.models.retrieve("moderation").created == models[MODEL].created


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        ({"input": TOKENS}, "token_ids", "check_embedding_ctx_length=False"),
        ({"input": "a cat", "dimensions": 256}, "invalid_dimensions", "leave it out"),
        ({"input": []}, "empty_input", "input is empty"),
        ({"input": openai.omit}, "invalid_request", "write input"),
        ({"input": "a " * 100}, "prompt_too_long", "shorten it"),
        ({"input": ["a cat"] * 1001}, "too_many_prompts", "send fewer"),
        ({"input": "a cat", "encoding_format": "int8"}, "invalid_request", "encoding_format"),
    ],
)
def test_what_cannot_be_embedded_is_a_bad_request_that_says_what_to_do(
    client: openai.OpenAI, asked: Any, code: str, words: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=words) as refused:
        client.embeddings.create(model=MODEL, **asked)
    assert refused.value.code == code
    assert refused.value.request_id


def test_the_index_of_a_text_that_is_too_long_is_named(client: openai.OpenAI, red_uri: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=MODEL, input=["a cat", red_uri, "a " * 100])
    assert (refused.value.code, refused.value.param) == ("prompt_too_long", "input[2]")


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, uri: client.embeddings.create(model="text-embedding-3-small", input=uri),
        lambda client, uri: client.moderations.create(model="strict", input=uri),
        lambda client, _: client.models.retrieve("gpt-4o"),
    ],
    ids=["embeddings", "moderations", "models"],
)
def test_an_unknown_model_is_not_found(
    client: openai.OpenAI, red_uri: str, ask: Callable[[openai.OpenAI, str], Any]
) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        ask(client, red_uri)
    assert refused.value.code == "model_not_found"
    assert refused.value.param == "model"
    assert refused.value.request_id


def test_a_base_url_without_v1_is_told_so(server: Listening) -> None:
    with (
        openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client,
        pytest.raises(openai.NotFoundError, match="base_url must end in /v1"),
    ):
        client.models.list()


def test_the_asynchronous_client_has_the_same_answers(server: Listening, red_uri: str) -> None:
    async def ask() -> list[float]:
        async with openai.AsyncOpenAI(
            base_url=server.openai_url, api_key="none", max_retries=0
        ) as client:
            return (await client.embeddings.create(model=MODEL, input=red_uri)).data[0].embedding

    with openai.OpenAI(base_url=server.openai_url, api_key="none") as client:
        expected = client.embeddings.create(model=MODEL, input=red_uri).data[0].embedding
    assert asyncio.run(ask()) == expected
