"""The OpenAPI document is whole, and the server answers as it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.rigs.serve.application import served
from tests.rigs.serve.listening import Listening, listening

pytestmark = [pytest.mark.component]


@pytest.fixture(scope="module")
def server() -> Iterator[Listening]:
    with listening() as server:
        yield server


@pytest.fixture
def schema(server: Listening) -> Any:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


lazy = schemathesis.pytest.from_fixture("schema").exclude(path="/v1/live")


@lazy.parametrize()
@settings(max_examples=8, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_server_answers_as_its_document_says(case: schemathesis.Case) -> None:
    case.call_and_validate(excluded_checks=[negative_data_rejection, positive_data_acceptance])
