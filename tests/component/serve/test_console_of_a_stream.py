"""The console's API on a port, beside a real Kafka and an S3 server: outcomes arrive through the
gate, with their images."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from pipeline import metrics
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.policy import S3Policy
from pipeline.metrics import STREAM_WORKER
from tests.rigs.serve.application import served
from tests.rigs.serve.listening import Listening, listening
from tests.rigs.serve.published import Worker
from tests.rigs.services.kafka_deployment import Deployment
from tests.rigs.stages.decoding import as_file, clouds
from tests.rigs.waiting import eventually
from workers.embedded.s3 import S3Server
from workers.endpoints.discovery import update_discovery
from workers.endpoints.identity import EndpointId
from workers.endpoints.policy import EndpointsPolicy
from workers.endpoints.worker import MetricsEndpoint
from workers.serve.live.cluster import values_in

pytestmark = [pytest.mark.component]

BUCKET = "live-photos"
WAIT_S = 60.0


@pytest.fixture(scope="module")
def deployment(kafka_bootstrap: str) -> Iterator[Deployment]:
    with Deployment(kafka_bootstrap) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def discovery_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("discovery") / "workers.json"


@pytest.fixture(scope="module")
def server(deployment: Deployment, moto_s3: S3Server, discovery_file: Path) -> Iterator[Listening]:
    store = S3Policy(endpoint=moto_s3.endpoint, region="us-east-1", allowed_buckets=(BUCKET,))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", moto_s3.access_key)
        environment.setenv("AWS_SECRET_ACCESS_KEY", moto_s3.secret_key)
        with closing(S3Admin(store)) as admin:
            admin.create_bucket(BUCKET)
            admin.put(BUCKET, "cats/1.jpg", as_file(clouds(1, 800, 600), "JPEG"))
            admin.put(BUCKET, "broken.jpg", b"no image")
        settings = served(
            kafka=deployment.kafka,
            s3=store,
            endpoints=EndpointsPolicy(discovery_file=str(discovery_file)),
        )
        with listening(settings) as server:
            yield server


def events(answer: httpx2.Response) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_outcomes_arrive_with_their_images_and_who_leaves_leaves_nothing(
    server: Listening, deployment: Deployment
) -> None:
    worker = Worker(deployment)
    live = server.services.live.require_stream()
    with (
        httpx2.Client(base_url=server.url, timeout=WAIT_S) as client,
        client.stream("GET", "/v1/live?text=cats") as answer,
    ):
        assert answer.status_code == 200
        worker.publish(worker.classified("cats/1.jpg", BUCKET), worker.classified("2.jpg", BUCKET))
        seen = next(data for name, data in events(answer) if name == "outcome")
        assert seen["uri"] == f"s3://{BUCKET}/cats/1.jpg"
        image = {"bucket": BUCKET, "key": "cats/1.jpg", "size": "160"}
        with httpx2.Client(base_url=server.url, timeout=WAIT_S) as other:
            picture = other.get("/v1/live/image", params=image)
        assert picture.status_code == 200, picture.text
        with Image.open(io.BytesIO(picture.content)) as opened:
            assert opened.size == (160, 120)
            expected = clouds(1, 800, 600).resize((160, 120), Image.Resampling.BICUBIC)
            apart = np.abs(np.asarray(opened, np.int16) - np.asarray(expected, np.int16))
            assert apart.mean() < 15  # another picture: above 40
        assert server.services.memory.held_bytes == 0
    eventually(lambda: live.watch._fanout.readers == 0)
    in_flight = (metrics.HTTP_IN_FLIGHT.name, "")
    eventually(lambda: values_in(server.services.meter)[in_flight] == 0)


@pytest.mark.parametrize(
    ("bucket", "key", "code"),
    [
        ("other", "1.jpg", "fetch.bucket_not_allowed"),
        (BUCKET, "gone.jpg", "fetch.not_found"),
        (BUCKET, "broken.jpg", "decode.unsupported_format"),
    ],
)
def test_images_are_read_under_the_rules_of_everything_else(
    server: Listening, bucket: str, key: str, code: str
) -> None:
    with httpx2.Client(base_url=server.url, timeout=WAIT_S) as client:
        answer = client.get("/v1/live/image", params={"bucket": bucket, "key": key})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


def test_the_status_tells_of_workers_that_the_discovery_file_lists(
    server: Listening, discovery_file: Path
) -> None:
    meter = PrometheusMeter(STREAM_WORKER)
    meter.add(metrics.REFERENCES, 5, outcome="classified")
    meter.add(metrics.REFERENCES, 2, outcome="dead_lettered")
    meter.set(metrics.LAG, 3, topic="a", partition="0")
    policy = EndpointsPolicy(metrics_port=0, discovery_file=str(discovery_file))
    worker = EndpointId("stream", "host", 0)
    with closing(MetricsEndpoint(meter.registry, policy, worker)):
        update_discovery(discovery_file, replace(worker, slot=1), "127.0.0.1:9")
        update_discovery(discovery_file, replace(worker, kind="serve"), "127.0.0.1:9")
        with httpx2.Client(base_url=server.url, timeout=WAIT_S) as client:
            status = client.get("/v1/status").json()
    runs: dict[str, Any] = {"device": None, "state": "ready", "committed": 7, "lag": 3}
    silent = {"device": None, "state": "silent", "committed": None, "lag": None}
    assert status["workers"] == [
        {"slot": "0", "driver": "host", **runs},
        {"slot": "1", "driver": "host", **silent},
    ]
    assert status["replicas"][0]["state"] == "ready"
    assert status["queues"] == {"decode": 0, "encode": 0, "in_hand": 0}


def test_a_drain_ends_the_stream_of_events(server: Listening) -> None:
    with (
        httpx2.Client(base_url=server.url, timeout=WAIT_S) as client,
        client.stream("GET", "/v1/live") as answer,
    ):
        told = events(answer)
        assert any(name == "stats" for name, _ in told)
        server.services.standing.draining = True
        assert len(list(told)) < 100
    server.services.standing.draining = False
