"""Every error of the application has OpenAI's shape, the framework's own too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from pipeline.adapters.prometheus import PrometheusMeter, exposition, samples
from pipeline.errors import Halt, Overloaded, Reject, Retry, WorkerLost
from tests.rigs.serve.application import application
from tests.rigs.stages.decoding import as_file, noise
from workers.serve.app import as_api_error, ends_replica
from workers.serve.images import Images
from workers.serve.services import Services

pytestmark = [pytest.mark.component]


def error_of(answer: httpx2.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert {"message", "type", "param", "code", "request_id"} <= error.keys()
    assert error["request_id"] == answer.headers["x-request-id"]
    assert "detail" not in answer.json()
    return error


def test_paths_methods_and_probes_answer_as_clients_read_it() -> None:
    async def ask() -> None:
        async with application() as (client, services):
            for path in ("/models", "/embeddings", "/chat/completions"):
                error = error_of(answer := await client.get(path))
                assert (answer.status_code, error["code"]) == (404, "not_found")
                assert "base_url must end in /v1" in error["message"]
            answer = await client.get("/v1/classify")
            assert (answer.status_code, error_of(answer)["code"]) == (405, "method_not_allowed")
            assert answer.headers["allow"] == "POST"
            # No redirect: it would name the host that the client has sent.
            assert (await client.get("/healthz/")).status_code in (401, 404)

            standing = services.standing
            assert (await client.get("/healthz")).status_code == 200
            standing.draining = True
            assert (await client.get("/healthz")).status_code == 200
            answer = await client.get("/readyz")
            assert (answer.status_code, error_of(answer)["code"]) == (503, "draining")
            answer = await client.post("/v1/classify", content=as_file(noise(40, 30)))
            assert (answer.status_code, error_of(answer)["code"]) == (503, "draining")
            assert int(answer.headers["retry-after-ms"]) > 0
            standing.failure = Halt("encode.unusable", "the device is gone")
            for probe in ("/healthz", "/readyz"):
                answer = await client.get(probe)
                assert answer.status_code == 503
                assert error_of(answer)["message"] == "the device is gone"

    asyncio.run(ask())


FAILURES = [
    (Reject("decode.corrupt", "no image"), 400, "decode.corrupt", False),
    (Reject("encode.non_finite", "the device"), 500, "encode.non_finite", False),
    (Retry("fetch.timeout", "slow", 2.5), 503, "fetch.timeout", False),
    (Overloaded("encode.overloaded", "busy", 0.75), 429, "encode.overloaded", False),
    (Halt("s3.no_credentials", "none"), 503, "s3.no_credentials", False),
    (Halt("model.prompt_too_long", "long"), 503, "model.prompt_too_long", False),
    (Halt("encode.unusable", "the device is gone"), 503, "encode.unusable", True),
    (WorkerLost("encode.exhausted", "lost"), 503, "encode.exhausted", True),
    (MemoryError(), 503, "serve.exhausted", True),
    (KeyError("secret"), 500, "internal", False),
]


def test_failures_of_the_pipeline_are_answered_and_only_some_end_the_replica(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ask() -> None:
        async with application() as (client, services):
            for failure, status, code, ends in FAILURES:
                monkeypatch.setattr(Images, "seen_all", _failing(failure))
                services.standing.failure = None
                answer = await client.post("/v1/classify", content=as_file(noise(40, 30)))
                error = error_of(answer)
                assert (answer.status_code, error["code"]) == (status, code)
                assert "secret" not in answer.text
                assert (services.standing.failure is not None) is ends
                told_not_to_retry = answer.headers.get("x-should-retry") == "false"
                assert told_not_to_retry is (isinstance(failure, Halt) and not ends)
                assert counted(services, code) == (status in (429, 503))
                _frees(services)

    asyncio.run(ask())


def counted(services: Services, code: str) -> float:
    assert isinstance(services.meter, PrometheusMeter)
    text = exposition(services.meter.registry).decode()
    return sum(
        value
        for name, labels, value in samples(text)
        if name == "clipstream_http_refusals_total" and labels["reason"] == code
    )


def _failing(failure: Exception) -> Callable[..., Any]:
    async def fail(*_: object) -> None:
        raise failure

    return fail


def _frees(services: Services) -> None:
    assert services.room.images == 0
    assert services.memory.held_bytes == 0


def test_waits_are_those_of_the_pipeline() -> None:
    assert as_api_error(Retry("fetch.timeout", "slow", 2.5), "/").headers() == {
        "retry-after-ms": "2500",
        "retry-after": "2",
    }
    overloaded = as_api_error(Overloaded("encode.overloaded", "busy", 500.0), "/")
    assert overloaded.headers()["retry-after-ms"] == "120000", "above it, clients do not try again"


def test_what_the_framework_refuses_is_400_and_names_its_place() -> None:
    problem = {"loc": ("body", "input", 3, "text"), "msg": "Field required", "type": "missing"}
    error = as_api_error(RequestValidationError([problem, problem]), "/")
    assert (error.status, error.code, error.param) == (400, "invalid_request", "input[3].text")
    assert error.message == "input[3].text: Field required (and 1 more problems)"
    error = as_api_error(HTTPException(413, "Too many files"), "/")
    assert (error.status, error.code, error.message) == (400, "invalid_request", "Too many files")


def test_a_halt_that_callers_can_cause_ends_no_replica() -> None:
    assert not ends_replica(Halt("model.prompt_too_long", "long"))
    assert not ends_replica(Halt("label_set.not_embeddable", "flat"))
