"""LiteLLM, which speaks OpenAI's protocol for its own callers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import openai
import pytest

from tests.rigs.serve.listening import Listening

# LiteLLM's own modules warn of what they use.
pytestmark = [
    pytest.mark.component,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:litellm.*"),
]


@pytest.fixture(scope="module")
def litellm() -> Iterator[ModuleType]:
    import litellm

    litellm.telemetry = False
    yield litellm
    for client in litellm.in_memory_llm_clients_cache.cache_dict.values():
        if isinstance(client, openai.OpenAI):
            client.close()


@pytest.fixture(autouse=True)
def loop() -> Iterator[None]:
    """LiteLLM asks for the thread's event loop, and would leave the one that Python makes then."""
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        asyncio.set_event_loop(loop)
        yield
        asyncio.set_event_loop(None)


def test_a_text_and_an_image_are_embedded(
    litellm: ModuleType, server: Listening, red_uri: str
) -> None:
    answer: Any = litellm.embedding(
        model="openai/openai/clip-vit-base-patch32",
        input=["a cat", red_uri],
        api_base=server.openai_url,
        api_key="none",
        max_retries=0,
    )
    assert [each["index"] for each in answer.data] == [0, 1]
    assert {len(each["embedding"]) for each in answer.data} == {64}
    assert answer.usage.prompt_tokens > 0


def test_the_owner_of_the_model_may_be_left_out(litellm: ModuleType, server: Listening) -> None:
    """LiteLLM takes ``openai/`` for the name of the provider."""
    answer: Any = litellm.embedding(
        model="openai/clip-vit-base-patch32",
        input=["a cat"],
        api_base=server.openai_url,
        api_key="none",
        max_retries=0,
    )
    assert len(answer.data) == 1


def test_an_image_is_moderated(litellm: ModuleType, server: Listening, red_uri: str) -> None:
    answer: Any = litellm.moderation(
        input=red_uri, model="moderation", api_base=server.openai_url, api_key="none"
    )
    (result,) = answer.results
    assert isinstance(result.flagged, bool)
    assert answer.model == "moderation"


def test_an_error_keeps_what_to_do(litellm: ModuleType, server: Listening) -> None:
    with pytest.raises(openai.BadRequestError, match="no image"):
        litellm.moderation(
            input="a cat", model="moderation", api_base=server.openai_url, api_key="none"
        )
