"""The OpenAPI document is whole, and the server answers as it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings, strategies
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,
)

from tests.rigs.serve.application import served
from tests.rigs.serve.listening import Listening, listening
from workers.serve.admission.key_file import KeyEntry, new_key
from workers.serve.caller import Scope
from workers.settings.serve import ServePolicy

pytestmark = [pytest.mark.component]

METHODS = {"get", "post", "put", "patch", "delete"}
ENDLESS = "/v1/live"
"""An answer that goes on for as long as somebody reads."""

EXCLUDED: list[Any] = [
    # No schema says which text is the base64 of an image, and which bytes are a form.
    negative_data_rejection,
    positive_data_acceptance,
    # This server knows no Kafka, and says so with 503. No other 5xx is allowed below.
    not_a_server_error,
]

few = settings(
    max_examples=15,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Listening]:
    with listening() as server:
        yield server


@pytest.fixture(scope="module")
def key() -> tuple[str, str]:
    """A key that may do everything, and its line."""
    key, key_id, sha256 = new_key()
    return key, KeyEntry(id=key_id, name="all", sha256=sha256, scopes=tuple(Scope)).line()


@pytest.fixture(scope="module")
def guarded(key: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """A server with keys."""
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(key[1], encoding="utf-8")
    with listening(served(serve=ServePolicy(keys=file))) as server:
        yield server


def document(server: Listening) -> dict[str, Any]:
    found: dict[str, Any] = httpx2.get(f"{server.url}/openapi.json").raise_for_status().json()
    return found


def operations(server: Listening) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document(server)["paths"].items():
        for method, operation in methods.items():
            assert method in METHODS
            yield path, method, operation


def require_as_described(server: Listening, headers: dict[str, str]) -> None:
    """Every route, with requests that its description allows and with others."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json").exclude(path=ENDLESS)
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # an error raises here
        modes = schemathesis.GenerationMode
        cases = [
            operation.as_strategy(generation_mode=mode) for mode in (modes.POSITIVE, modes.NEGATIVE)
        ]

        @few
        @given(case=strategies.one_of(cases))
        def answered(case: schemathesis.Case[Any]) -> None:
            answer = case.call_and_validate(headers=headers, excluded_checks=EXCLUDED)
            if answer.status_code >= 500:
                assert answer.json()["error"]["code"] == "stream_not_configured"

        answered()


def test_the_server_answers_as_its_document_says(server: Listening) -> None:
    require_as_described(server, {})


def test_the_server_asks_for_keys_where_its_document_says(
    guarded: Listening, key: tuple[str, str]
) -> None:
    """The check leaves the key out, and sends a wrong one."""
    require_as_described(guarded, {"Authorization": f"Bearer {key[0]}"})


def test_without_a_key_every_route_but_probes_is_refused_as_described(guarded: Listening) -> None:
    for path, method, operation in operations(guarded):
        answer = httpx2.request(method, guarded.url + path)
        if "security" in operation:
            assert operation["security"] == [{"key": []}]
            assert answer.status_code == 401
        else:
            assert path in {"/healthz", "/readyz"}
            assert answer.status_code == 200


def test_every_route_has_a_summary_a_tag_examples_and_described_errors(server: Listening) -> None:
    told = document(server)
    tags = {tag["name"] for tag in told["tags"]}
    assert told["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, method, operation in operations(server):
        assert operation["summary"], path
        assert set(operation["tags"]) <= tags, path
        assert "security" not in operation, "this server has no keys"
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        assert method == "get" or body["examples"], path
        answers = operation["responses"]
        assert "422" not in answers
        assert {"500", "503"} <= answers.keys()
        for status, answer in answers.items():
            assert answer["description"], (path, status)
            if int(status) >= 400:
                schema = answer["content"]["application/json"]["schema"]["$ref"]
                shape = "ErrorFound" if path.startswith("/hf/") else "ErrorAnswer"
                assert schema == f"#/components/schemas/{shape}"


def test_no_description_is_left_over(server: Listening) -> None:
    assert (
        not {"HTTPValidationError", "ValidationError"}
        & document(server)["components"]["schemas"].keys()
    )
