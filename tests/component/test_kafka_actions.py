"""Actions and removals on a real Kafka: published with their outcomes; and actions are posted to a
webhook by the example of a bridge."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pipeline.adapters.kafka.outcomes import OutcomeReader, PublishedOutcome
from pipeline.adapters.kafka.policy import DeliveryPolicy
from pipeline.records import OutputTopic
from tests.rigs.root import ROOT
from tests.rigs.services.kafka_deployment import MODES, Deployment, Mode
from tests.rigs.waiting import eventually
from tests.rigs.workers.worker_of_deployment import references, working

pytestmark = pytest.mark.component

BRIDGE = ROOT / "deploy/examples/review-bridge/bridge.py"


class Webhook:
    """Listens on loopback and keeps what it has accepted. Refuses the first ``to_refuse``."""

    def __init__(self) -> None:
        self.accepted: list[dict[str, Any]] = []
        self.to_refuse = 0
        self.refused = 0
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                assert self.headers["content-type"] == "application/cloudevents+json"
                assert self.headers["authorization"] == "Bearer secret"
                refused = webhook.refused < webhook.to_refuse
                if refused:
                    webhook.refused += 1
                else:
                    webhook.accepted.append(body)
                self.send_response(503 if refused else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/actions"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def places(self) -> list[tuple[int, int]]:
        """Partition and offset of each accepted action's reference, in the order of arrival."""
        positions = [body["data"]["position"] for body in self.accepted]
        return [(each["partition"], each["offset"]) for each in positions]


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with contextlib.closing(Webhook()) as started:
        yield started


@pytest.fixture
def deployment(kafka_bootstrap: str) -> Iterator[Deployment]:
    with Deployment(kafka_bootstrap) as made:
        yield made


@contextlib.contextmanager
def bridging(deployment: Deployment, webhook: Webhook) -> Iterator[subprocess.Popen[str]]:
    """The example as a process of its own, killed at the end."""
    variables = {
        "WEBHOOK": webhook.url,
        "WEBHOOK_TOKEN": "secret",
        "BOOTSTRAP_SERVERS": ",".join(deployment.kafka.bootstrap_servers),
        "TOPIC": deployment.topic(OutputTopic.ACTIONS),
        "GROUP": f"{deployment.kafka.group}-bridge",
        "PAUSE_S": "0.1",
    }
    with subprocess.Popen(
        [sys.executable, str(BRIDGE)],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def published(deployment: Deployment) -> list[PublishedOutcome]:
    with OutcomeReader(deployment.kafka) as reader:
        return list(reader.rest())


def test_an_action_is_visible_with_its_outcome_and_only_where_one_is_called_for(
    deployment: Deployment,
) -> None:
    with working(deployment) as worker:
        deployment.produce([*references("good", "bad"), b"no json"])
        deployment.produce(references("bad too"), partition=1)
        worker.has_committed(4)
    outcomes = published(deployment)
    letters = [each for each in outcomes if each.topic is OutputTopic.DEAD_LETTERS]
    actions = [each for each in outcomes if each.topic is OutputTopic.ACTIONS]
    assert len(letters) == 3
    about = [json.loads(each.value)["outcome"]["id"].encode() for each in actions]
    assert sorted(about) == sorted(each.headers["ce_id"] for each in letters)
    assert {each.key for each in actions} == {b"key"}
    assert {each.headers["decision"] for each in actions} == {b"review"}
    (classified,) = [each for each in outcomes if each.topic is OutputTopic.CLASSIFICATIONS]
    assert classified.headers["decision"] == b"allow"


def test_the_bridge_posts_each_action_although_the_webhook_refuses_and_the_bridge_is_killed(
    deployment: Deployment, webhook: Webhook
) -> None:
    webhook.to_refuse = 2
    names = [f"bad {number}" for number in range(5)]
    with working(deployment) as worker, bridging(deployment, webhook) as first:
        deployment.produce(references(*names))
        deployment.produce(references(*names), partition=1)
        eventually(lambda: len(webhook.accepted) == 10)
        first.send_signal(signal.SIGKILL)
        first.wait()
        deployment.produce(references(*names))
        worker.has_committed(15)
    with bridging(deployment, webhook) as second:
        eventually(lambda: len({body["id"] for body in webhook.accepted}) == 15)
        assert second.poll() is None
    assert webhook.refused == 2
    first_seen = list(dict.fromkeys(webhook.places()))
    for partition, expected in ((0, 10), (1, 5)):
        offsets = [offset for number, offset in first_seen if number == partition]
        assert offsets == list(range(expected))
    body = webhook.accepted[0]
    assert (body["type"], body["specversion"]) == ("clipstream.action.v1", "1.0")
    assert body["data"]["failure"]["code"] == "decode.corrupt"


def deletions(*keys: str) -> list[bytes | None]:
    """Records that each tell of one deletion."""
    return [
        json.dumps(
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "eventName": "ObjectRemoved:Delete",
                "s3": {"bucket": {"name": "images"}, "object": {"key": key}},
            }
        ).encode()
        for key in keys
    ]


@pytest.mark.parametrize("mode", MODES)
def test_an_index_sees_each_removal_once_and_behind_the_vector_although_the_worker_changes(
    kafka_bootstrap: str, mode: Mode
) -> None:
    with Deployment(kafka_bootstrap, 1, delivery=DeliveryPolicy(mode=mode)) as deployment:
        with working(deployment) as first:
            deployment.produce([*references("a", "b"), *deletions("a")])
            first.has_committed(3)
            # The next worker repeats what this one has begun and not committed.
            deployment.produce([*references("slow"), *deletions("slow", "b")])
            eventually(lambda: first.flow.running == {"slow"})
        with working(deployment) as second:
            second.open_gate()
            deployment.produce(references("a"))
            second.has_committed(4)
        headers = [
            each.headers for each in published(deployment) if each.topic is OutputTopic.EMBEDDINGS
        ]
    vector, removal = b"clipstream.embedding.v1", b"clipstream.removal.v1"
    assert [(each["ce_type"], each["object.uri"]) for each in headers] == [
        (vector, b"s3://images/a"),
        (vector, b"s3://images/b"),
        (removal, b"s3://images/a"),
        (vector, b"s3://images/slow"),
        (removal, b"s3://images/slow"),
        (removal, b"s3://images/b"),
        (vector, b"s3://images/a"),
    ]
