"""An image over HTTP, through the real decoders, on an encoder without a model."""

from __future__ import annotations

import asyncio

import pytest

from tests.rigs.serve.application import application
from tests.rigs.stages.decoding import as_file, noise

pytestmark = [pytest.mark.component]


def test_an_image_is_classified_with_the_label_sets_in_force() -> None:
    async def ask() -> None:
        async with application() as (client, services):
            answer = await client.post("/v1/classify", content=as_file(noise(40, 30)))
            assert answer.status_code == 200, answer.text
            (image,) = answer.json()["images"]
            (result,) = image["results"]
            assert result["label_set"] == min(services.rules().versions)
            assert (await client.get("/readyz")).status_code == 200

    asyncio.run(ask())


def test_a_file_that_is_no_image_is_an_error_of_openais_shape() -> None:
    async def ask() -> None:
        async with application() as (client, _):
            answer = await client.post("/v1/classify", content=b"no image")
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "decode.unsupported_format"
            assert answer.json()["error"]["type"] == "invalid_request_error"

    asyncio.run(ask())
