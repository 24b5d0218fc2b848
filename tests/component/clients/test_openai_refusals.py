"""Each status that OpenAI's client knows, as the exception that its users catch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest

from workers.serve.admission.key_file import KeyEntry, new_key
from workers.settings.serve import ServePolicy

if TYPE_CHECKING:
    from tests.rigs.serve.listening import Listening

pytestmark = pytest.mark.component

MODEL = "openai/clip-vit-base-patch32"
KEYS: dict[str, dict[str, Any]] = {
    "all": {},
    "moderator": {"label_sets": ("moderation",), "ignore_text": True},
    "watcher": {"scopes": ("live",)},
    "slow": {"images_per_s": 0.001, "burst": 1},
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The file of keys, and the keys by name."""
    file, lines, keys = tmp_path_factory.mktemp("keys") / "keys", [], {}
    for name, fields in KEYS.items():
        keys[name], key_id, hashed = new_key()
        entry = {"id": key_id, "name": name, "sha256": hashed, **fields}
        lines.append(KeyEntry.model_validate(entry).line())
    file.write_text("".join(lines))
    return file, keys


@pytest.fixture(scope="module")
def guarded(keys: tuple[Path, dict[str, str]]) -> Iterator[Listening]:
    from tests.rigs.serve.application import served
    from tests.rigs.serve.listening import listening

    with listening(served(serve=ServePolicy(keys=keys[0]))) as server:
        yield server


@pytest.fixture
def ask(guarded: Listening, keys: tuple[Path, dict[str, str]]) -> Iterator[Any]:
    """A client by the name of its key."""
    clients = {
        name: openai.OpenAI(
            base_url=guarded.openai_url, api_key=keys[1].get(name, name), max_retries=0
        )
        for name in (*KEYS, "unknown")
    }
    yield clients
    for client in clients.values():
        client.close()


def test_an_unknown_key_is_an_authentication_error(ask: Any) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        ask["unknown"].models.list()
    assert refused.value.code == "invalid_api_key"
    assert refused.value.request_id


def test_a_key_without_the_scope_is_denied(ask: Any) -> None:
    with pytest.raises(openai.PermissionDeniedError) as refused:
        ask["watcher"].embeddings.create(model="memory", input="a cat")
    assert refused.value.code == "scope_missing"
    assert refused.value.type == "permission_error"


def test_a_key_sees_and_uses_its_label_sets_alone(ask: Any, red_uri: str) -> None:
    assert [each.id for each in ask["moderator"].models.list()] == ["memory", "moderation"]
    assert ask["moderator"].moderations.create(input=red_uri).model == "moderation"
    with pytest.raises(openai.PermissionDeniedError) as refused:
        ask["moderator"].moderations.create(input=red_uri, model="general-objects")
    assert refused.value.code == "label_set_not_allowed"
    with pytest.raises(openai.NotFoundError):
        ask["moderator"].models.retrieve("general-objects")


def test_a_key_may_pass_over_texts_beside_an_image(ask: Any, red_uri: str) -> None:
    parts = [
        {"type": "text", "text": "a cat"},
        {"type": "image_url", "image_url": {"url": red_uri}},
    ]
    assert len(ask["moderator"].moderations.create(input=parts).results) == 1
    with pytest.raises(openai.BadRequestError, match="ignore_text"):
        ask["all"].moderations.create(input=parts)


def test_a_key_beyond_its_rate_is_told_when_to_come_back(ask: Any, red_uri: str) -> None:
    ask["slow"].embeddings.create(model="memory", input=red_uri)
    with pytest.raises(openai.RateLimitError) as refused:
        ask["slow"].embeddings.create(model="memory", input=red_uri)
    assert refused.value.code
    assert int(refused.value.response.headers["retry-after-ms"]) > 0


def test_a_busy_server_is_asked_again_and_then_answers(
    guarded: Listening, keys: tuple[Path, dict[str, str]], red_uri: str
) -> None:
    """While the server ends it answers 503; another one answers the second try."""
    standing = guarded.services.standing
    tried: list[int] = []

    def come_back(response: Any) -> None:
        tried.append(response.status_code)
        standing.draining = False

    import httpx2

    standing.draining = True
    with (
        httpx2.Client(event_hooks={"response": [come_back]}) as connections,
        openai.OpenAI(
            base_url=guarded.openai_url,
            api_key=keys[1]["all"],
            max_retries=1,
            http_client=connections,
        ) as client,
    ):
        client.embeddings.create(model="memory", input=red_uri)
    assert tried == [503, 200]


def test_a_server_that_cannot_answer_is_an_internal_server_error(
    guarded: Listening, ask: Any
) -> None:
    guarded.services.standing.draining = True
    try:
        with pytest.raises(openai.InternalServerError) as refused:
            ask["all"].embeddings.create(model="memory", input="a cat")
    finally:
        guarded.services.standing.draining = False
    assert refused.value.code == "draining"
    assert refused.value.status_code == 503


def test_a_body_that_is_too_large_is_a_status_error(
    keys: tuple[Path, dict[str, str]], ask: Any
) -> None:
    too_much = "data:image/png;base64," + "A" * ServePolicy().max_body_bytes
    with pytest.raises(openai.APIStatusError) as refused:
        ask["all"].embeddings.create(model="memory", input=too_much)
    assert (refused.value.status_code, refused.value.code) == (413, "body_too_large")
