"""A whole stream worker in this process: real Kafka, a real S3 server behind a proxy that can fail,
the demo's small model."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.kafka.outcomes import OutcomeReader, PublishedOutcome
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.policy import S3Policy
from pipeline.metrics import BREAKER_OPEN
from pipeline.records import OutputTopic
from tests.fault.s3_proxy import S3Proxy
from tests.rigs.services.kafka_deployment import Deployment
from tests.rigs.waiting import WAIT_S, eventually
from workers.demo import shapes
from workers.embedded.s3 import S3Server
from workers.settings.loading import Settings
from workers.stream.wiring import BuiltStreamWorker, build_stream_worker
from workers.stream.worker import StreamWorker

DEMO = Path(shapes.__file__).parent
SEED = 11
SIDE_PX = (120, 200)
PARTITIONS = 2
GRACE_S = 10.0
POLL_S = 0.05

DEADLINE_S = 1.5
OPEN_S = 0.1
QUICK: dict[str, dict[str, Any]] = {
    "fetch": {"deadline_s": DEADLINE_S, "max_refusals": 2, "max_open_objects": 16},
    "retry": {"first_wait_s": 0.05, "longest_wait_s": 0.2},
    "breaker": {"failures": 4, "open_s": OPEN_S},
    "failure_budget": {"window": 100, "hold_s": 1.0},
}
"""What takes minutes in production takes seconds here."""


class Bucket:
    """A bucket of the real server, filled past the proxy."""

    def __init__(self, server: S3Server) -> None:
        policy = S3Policy(endpoint=server.endpoint, region=server.region, allowed_buckets=("*",))
        self._admin = S3Admin(policy)
        self.name = f"bucket-{uuid.uuid4().hex}"
        self.region = server.region
        self._admin.create_bucket(self.name)
        self._images = shapes.demo_images(SEED, 10_000, SIDE_PX)

    def close(self) -> None:
        self._admin.close()

    def put(self, key: str, body: bytes) -> str:
        """Write an object; its ETag."""
        return self._admin.put(self.name, key, body).etag or ""

    def fill(self, count: int) -> list[str]:
        """Write so many good images; their keys."""
        prefix = uuid.uuid4().hex[:8]
        keys = [f"{prefix}/{number:03}" for number in range(count)]
        for key, image in zip(keys, self._images, strict=False):
            self.put(key, image.body)
        return keys

    def reference(self, key: str, **more: str) -> bytes:
        return json.dumps({"bucket": self.name, "key": key, **more}).encode()


@dataclass(frozen=True)
class Store:
    """The store as the worker sees it, and as the test does."""

    proxy: S3Proxy
    bucket: Bucket


@contextlib.contextmanager
def store_behind_a_proxy(server: S3Server) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as environment, contextlib.ExitStack() as closing:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            environment.delenv(name)
        environment.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        environment.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
        proxy = closing.enter_context(S3Proxy(server.endpoint))
        yield Store(proxy, closing.enter_context(contextlib.closing(Bucket(server))))


class Traffic:
    """What is sent to a deployment, and what a read_committed consumer sees of the outcomes."""

    def __init__(self, deployment: Deployment, bucket: Bucket) -> None:
        self.sent = 0
        self._deployment = deployment
        self._bucket = bucket
        self._reader = deployment.closing.enter_context(OutcomeReader(deployment.kafka))
        self._outcomes: list[PublishedOutcome] = []

    # -- what is sent -----------------------------------------------------------------------

    def send(self, keys: Iterable[str]) -> None:
        """A reference to each key."""
        self.send_references([self._bucket.reference(key) for key in keys])

    def send_references(self, references: list[bytes], partition: int | None = None) -> None:
        """Spread over the partitions, unless one is named."""
        if partition is not None:
            self._deployment.produce(references, partition)
        else:
            for number in range(PARTITIONS):
                self._deployment.produce(references[number::PARTITIONS], number)
        self.sent += len(references)

    # -- what is seen -----------------------------------------------------------------------

    def classified(self) -> list[str]:
        """The keys of what has been classified, repeats included."""
        self._read()
        return sorted(
            json.loads(each.value)["reference"]["key"]
            for each in self._outcomes
            if each.topic is OutputTopic.CLASSIFICATIONS
        )

    def dead_letters(self) -> dict[str, str]:
        """The code of each object that was dead-lettered."""
        return {key: letter.headers["dlq.code"].decode() for key, letter in self._letters()}

    def attempts(self) -> dict[str, int]:
        """How often each object that was dead-lettered had been tried."""
        return {key: int(letter.headers["dlq.attempts"]) for key, letter in self._letters()}

    def committed(self) -> int:
        """Records that the group has committed."""
        return sum(self._deployment.committed(number) or 0 for number in range(PARTITIONS))

    def until_done(self) -> None:
        """Wait until each reference sent has an outcome; then look for one too many, among what
        was written until a moment after the last commit."""
        eventually(lambda: self._works() and self._decided() >= self.sent)
        eventually(lambda: self.committed() >= self.sent)
        self._read()
        assert self._decided() == self.sent
        ids = Counter(each.headers["ce_id"] for each in self._outcomes)
        assert max(ids.values()) == 1

    def _decided(self) -> int:
        self._outcomes.extend(self._reader.poll(POLL_S))
        decided = (OutputTopic.CLASSIFICATIONS, OutputTopic.DEAD_LETTERS)
        return sum(each.topic in decided for each in self._outcomes)

    def _works(self) -> bool:
        """Fails where nobody works any more."""
        return True

    def _letters(self) -> list[tuple[str, PublishedOutcome]]:
        self._read()
        letters = [
            (json.loads(each.value)["key"], each)
            for each in self._outcomes
            if each.topic is OutputTopic.DEAD_LETTERS
        ]
        assert len(letters) == len(dict(letters)), "dead-lettered twice"
        return letters

    def _read(self) -> None:
        """What is visible by now."""
        self._outcomes.extend(self._reader.rest())


class Running(Traffic):
    """A worker that runs in a thread."""

    def __init__(self, deployment: Deployment, bucket: Bucket, built: BuiltStreamWorker) -> None:
        super().__init__(deployment, bucket)
        self.error: BaseException | None = None
        self._built = built
        self._thread = threading.Thread(target=self._run, name="kafka-thread")

    def start(self) -> None:
        self._thread.start()

    @property
    def worker(self) -> StreamWorker:
        return self._built.worker

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def end(self, grace_s: float = GRACE_S) -> None:
        """Stop it and release what it owns. Idempotent."""
        self.worker.stop(grace_s)
        self._thread.join(WAIT_S)
        assert self.ended
        self._built.close()

    def breaker_open(self) -> bool:
        registry = self.worker._meter._meter.registry  # type: ignore[attr-defined]
        return bool(registry.get_sample_value(BREAKER_OPEN.name))

    def paused(self) -> bool:
        """Whether nothing is taken in."""
        return self.worker._pausing.paused == frozenset(self.worker._window.partitions)

    def _works(self) -> bool:
        assert not self.ended, f"the worker ended: {self.error!r}"
        return True

    def _run(self) -> None:
        try:
            self.worker.run()
        except BaseException as error:
            self.error = error


@contextlib.contextmanager
def working(
    bootstrap: str, store: Store, folder: Path, sections: dict[str, dict[str, Any]] | None = None
) -> Iterator[Running]:
    """A worker on topics and a group of its own. ``sections`` are settings that differ."""
    with (
        Deployment(bootstrap, PARTITIONS) as deployment,
        working_on(deployment, store, folder, sections) as running,
    ):
        yield running


@contextlib.contextmanager
def working_on(
    deployment: Deployment,
    store: Store,
    folder: Path,
    sections: dict[str, dict[str, Any]] | None = None,
) -> Iterator[Running]:
    """A worker of that deployment."""
    built = build_stream_worker(settings_of(deployment, store, folder, sections or {}), 0)
    running = Running(deployment, store.bucket, built)
    running.start()
    try:
        yield running
    finally:
        store.proxy.heal()
        running.end()


def settings_of(
    deployment: Deployment, store: Store, folder: Path, sections: dict[str, dict[str, Any]]
) -> Settings:
    values: dict[str, dict[str, Any]] = {
        "s3": {
            "endpoint": store.proxy.endpoint,
            "region": store.bucket.region,
            "allowed_buckets": [store.bucket.name],
            "connect_timeout_s": 0.5,
            "read_timeout_s": 0.5,
        },
        "model": {"directory": DEMO / "model", "device": "cpu", "threads": 1},
        "label_sets": {"paths": [DEMO / "labels.yaml"], "text_cache_dir": folder / "texts"},
        "decode": {"processes": 1},
        "endpoints": {"health_port": 0, "metrics_port": 0},
        "delivery": {"commit_interval_s": 0.05},
        **QUICK,
    }
    for name, section in sections.items():
        values[name] = values.get(name, {}) | section
    return Settings.model_validate(values | {"kafka": deployment.kafka})
