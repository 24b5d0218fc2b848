"""Embeddings over HTTP are those that the stream publishes for the same bytes."""

from __future__ import annotations

import asyncio
import base64
import io

import numpy as np
import pytest
from PIL import Image

from pipeline.events.builder import EventsPolicy
from pipeline.records import EmbeddingDtype
from tests.rigs.serve.application import application, served
from workers.serve.caller import ANYBODY, Admitted
from workers.serve.images import Inline, Seen

pytestmark = pytest.mark.component


def drawn(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_both_formats_have_the_published_values_in_the_order_of_the_request(
    dtype: EmbeddingDtype,
) -> None:
    red, blue = drawn("red"), drawn("blue")

    async def ask() -> None:
        async with application(served(events=EventsPolicy(embedding_dtype=dtype))) as (
            client,
            services,
        ):
            admitted = Admitted(ANYBODY, "test", services.memory.hold())
            given = [Inline(blue), Inline(red)]
            seen = await services.images.seen_all(given, admitted)
            published = [each.looked.embedding for each in seen if isinstance(each, Seen)]
            (text,) = await services.prompts.embed(["a cat"], "input")
            expected = np.stack([published[0], text, published[1]]).astype(np.float32)
            items = [
                {"image": base64.b64encode(blue).decode()},
                "a cat",
                {"image": base64.b64encode(red).decode()},
            ]
            for encoding_format in ("float", "base64", None):
                answer = await client.post(
                    "/v1/embeddings", json={"input": items, "encoding_format": encoding_format}
                )
                assert answer.status_code == 200, answer.text
                data = answer.json()["data"]
                assert [each["index"] for each in data] == [0, 1, 2]
                found = [each["embedding"] for each in data]
                if encoding_format == "base64":
                    found = [np.frombuffer(base64.b64decode(each), "<f4") for each in found]
                assert np.array_equal(np.array(found, np.float32), expected)
            usage = answer.json()["usage"]
            assert usage["images"] == 2
            assert usage["image_bytes"] == len(red) + len(blue)
            assert usage["prompt_tokens"] == 4

    asyncio.run(ask())


def test_a_request_in_which_nothing_can_be_embedded_fails_even_where_items_may_be_left_out() -> (
    None
):
    """A client would take an answer without data for a broken server."""

    async def ask() -> None:
        async with application() as (client, _):
            answer = await client.post(
                "/v1/embeddings",
                json={"input": [{"image": "aXQgaXMgbm8gaW1hZ2U="}, ""], "on_error": "omit"},
            )
            assert answer.status_code == 400
            assert answer.json()["error"]["param"] == "input[0]"

    asyncio.run(ask())


def test_more_images_than_a_request_may_have_are_refused() -> None:
    async def ask() -> None:
        async with application() as (client, services):
            most = services.settings.serve.max_images
            answer = await client.post(
                "/v1/embeddings", json={"input": [{"image": "AAAA"}] * (most + 1)}
            )
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "too_many_images"

    asyncio.run(ask())


def test_the_routes_are_described_with_examples_that_are_answered() -> None:
    async def ask() -> None:
        async with application() as (client, _):
            document = (await client.get("/openapi.json")).json()
            tagged = {
                path: routes["post"]["requestBody"]["content"]["application/json"]["examples"]
                for path, routes in document["paths"].items()
                if routes.get("post", {}).get("tags", [""])[0] in ("OpenAI", "Hugging Face")
            }
            assert len(tagged) == 5
            for path, examples in tagged.items():
                for example in examples.values():
                    answer = await client.post(path, json=example["value"])
                    assert answer.status_code == 200, (path, answer.text)
            assert "/v1/models/{model}" in document["paths"]

    asyncio.run(ask())
