"""What the console gets at its start, and the status."""

from __future__ import annotations

import asyncio
import pickle
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipeline import metrics
from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.prometheus import PrometheusMeter
from tests.rigs.serve.application import served
from tests.rigs.serve.console import Console, console, limited
from workers.endpoints.identity import EndpointId
from workers.endpoints.policy import EndpointsPolicy
from workers.endpoints.worker import MetricsEndpoint
from workers.serve.caller import Scope
from workers.serve.live.live import is_stream_configured, with_stream_named
from workers.settings.loading import Settings, load_settings
from workers.settings.serve import ServePolicy
from workers.stages import tell_model


def told(asked: Console, path: str) -> Any:
    answer = asyncio.run(asked.ask("GET", path))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_page_gets_what_it_needs_at_its_start() -> None:
    start = told(console(changed_at={"moderation": 5.0}), "/v1/console")
    assert start["model"]["name"] == "memory"
    assert start["key"]["name"] == "anybody"
    assert start["default_label_set"] == start["label_sets"][0]["name"]
    assert start["stream"] == {"configured": True, "why": None}
    assert start["geometry"] == {"resize": 224, "crop": 224}
    changed = {each["name"]: each["changed_at"] for each in start["label_sets"]}
    assert changed == {"general-objects": None, "moderation": 5.0}
    moderation = start["label_sets"][1]
    assert moderation["actions"][0] == "block"
    assert {"name", "neutral", "act", "review", "category"} <= moderation["labels"][0].keys()


def test_a_key_learns_only_of_label_sets_that_it_may_use() -> None:
    caller = limited(label_sets=("moder*",))
    start = told(console(caller=caller), "/v1/console")
    assert [each["name"] for each in start["label_sets"]] == ["moderation"]
    assert start["default_label_set"] == "moderation"


def test_a_server_without_kafka_says_how_to_configure_one() -> None:
    start = told(console(configured=False), "/v1/console")
    assert start["stream"]["configured"] is False
    assert "CLIPSTREAM_KAFKA__BOOTSTRAP_SERVERS" in start["stream"]["why"]


def test_kafka_is_configured_if_somebody_named_it() -> None:
    assert not is_stream_configured(load_settings(environment={}))
    named = {"CLIPSTREAM_KAFKA__BOOTSTRAP_SERVERS": '["broker:9092"]'}
    assert is_stream_configured(load_settings(environment=named))
    assert is_stream_configured(served(serve=ServePolicy(publish="kafka")))
    assert not is_stream_configured(served(kafka=KafkaPolicy(group="g")))


def test_a_server_beside_the_stream_knows_its_kafka_in_every_process() -> None:
    settings = served(kafka=KafkaPolicy(group="g"))
    named: Settings = pickle.loads(pickle.dumps(with_stream_named(settings)))
    assert is_stream_configured(named)
    assert named == settings


def test_the_status_shows_this_replica_and_its_label_sets() -> None:
    asked = console()
    status = told(asked, "/v1/status")
    (replica,) = status["replicas"]
    assert (replica["state"], replica["device"], replica["why"]) == ("ready", "memory", None)
    assert status["workers"] is None
    assert [each["name"] for each in status["label_sets"]] == ["general-objects", "moderation"]
    asked.services.standing.draining = True
    assert told(asked, "/v1/status")["replicas"][0]["state"] == "draining"


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/console", Scope.CLASSIFY),
        ("GET", "/v1/status", Scope.ADMIN),
        ("GET", "/v1/live", Scope.LIVE),
        ("GET", "/v1/live/image?bucket=b&key=k", Scope.LIVE),
        ("POST", "/v1/live/reveal", Scope.LIVE),
        ("GET", "/v1/dead-letters", Scope.DEAD_LETTERS),
        ("POST", "/v1/dead-letters/replay", Scope.REPLAY),
    ],
)
def test_each_route_needs_its_scope(method: str, path: str, scope: Scope) -> None:
    caller = limited(scopes=frozenset(Scope) - {scope})
    answer = asyncio.run(console(caller=caller).ask(method, path))
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "scope_missing"
    assert scope.value in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/live"), ("GET", "/v1/dead-letters"), ("POST", "/v1/dead-letters/replay")],
)
def test_without_kafka_routes_of_the_stream_say_so(method: str, path: str) -> None:
    answer = asyncio.run(console(configured=False).ask(method, path))
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "stream_not_configured"


def test_workers_are_read_from_the_discovery_file(tmp_path: Path) -> None:
    file = tmp_path / "workers.json"
    asked = console(settings=served(endpoints={"discovery_file": str(file)}))
    assert told(asked, "/v1/status")["workers"] == []


def test_a_worker_is_shown_with_its_device_once_its_model_is_loaded(tmp_path: Path) -> None:
    file = str(tmp_path / "workers.json")
    asked = console(settings=served(endpoints={"discovery_file": file}))
    policy = EndpointsPolicy(metrics_port=0, discovery_file=file)
    meter = PrometheusMeter(metrics.STREAM_WORKER)
    with closing(MetricsEndpoint(meter.registry, policy, EndpointId("stream", "host", 0))):
        (starting,) = told(asked, "/v1/status")["workers"]
        tell_model(meter, MemoryEncoder().model)
        (running,) = told(asked, "/v1/status")["workers"]
    (silent,) = told(asked, "/v1/status")["workers"]
    devices = [(each["state"], each["device"]) for each in (starting, running, silent)]
    assert devices == [("ready", None), ("ready", "memory"), ("silent", None)]
