"""LangChain's embeddings, which send token ids unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
import pytest
from langchain_openai import OpenAIEmbeddings

from tests.rigs.serve.listening import Listening

pytestmark = pytest.mark.component

MODEL = "openai/clip-vit-base-patch32"


@contextmanager
def embeddings(server: Listening, **keys: Any) -> Iterator[OpenAIEmbeddings]:
    with httpx2.Client() as connections:
        given: dict[str, Any] = {"base_url": server.openai_url, "api_key": "none"}
        yield OpenAIEmbeddings(model=MODEL, max_retries=0, http_client=connections, **given, **keys)


def test_documents_and_queries_are_embedded_as_texts(server: Listening, red_uri: str) -> None:
    with embeddings(server, check_embedding_ctx_length=False) as client:
        cat, image = client.embed_documents(["a photo of a cat", red_uri])
        assert len(cat) == len(image) == 64
        assert client.embed_query("a photo of a cat") == cat


def test_token_ids_are_refused_with_the_option_that_helps(
    server: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The default asks tiktoken for a vocabulary, which the package would fetch.
    monkeypatch.setattr(
        OpenAIEmbeddings,
        "_tokenize",
        lambda *_: ([0], [[320, 2368]], [0], [2]),
    )
    with (
        embeddings(server) as client,
        pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"),
    ):
        client.embed_documents(["a cat"])
