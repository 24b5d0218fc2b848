"""A stream for pods to work on: topics, images in a bucket, settings, references, outcomes."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from deploy.dev.cluster.kubectl import Kubectl, Object
from deploy.dev.cluster.node.image import CODE
from deploy.dev.cluster.supplies import s3_secret
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.doctor import sound_topics
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.adapters.kafka.outcomes import OutcomeReader, input_keys
from pipeline.adapters.s3.admin import S3Admin
from pipeline.records import OutputTopic
from workers.demo.messages import StoredObject, messages
from workers.demo.shapes import demo_images
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.s3 import S3Server
from workers.settings.loading import Settings

SETTINGS = "settings"
"""Name of the ConfigMap with the settings file."""

OUTCOMES_S = 120.0

IMAGES = 9
"""So few that the demo puts no two into one message."""


class PodStream:
    """One deployment's topics and bucket. ``open_stream`` makes and closes it."""

    def __init__(self, kafka: EmbeddedKafka, s3: S3Server, name: str, partitions: int) -> None:
        self.values: dict[str, Any] = {
            "kafka": {
                "bootstrap_servers": [kafka.bootstrap],
                "group": name,
                "instance": name,
                "input_topics": [f"{name}.references"],
                "output_topics": {
                    "classifications": f"{name}.classifications",
                    "embeddings": f"{name}.embeddings",
                    "dead_letters": f"{name}.dead-letters",
                },
            },
            "s3": {"endpoint": s3.endpoint, "region": s3.region, "allowed_buckets": [name]},
            "model": {
                "directory": f"{CODE}/workers/demo/model",
                "device": "cpu",
                "precision": "fp32",
                "threads": 1,
            },
            "label_sets": {
                "paths": [f"{CODE}/workers/demo/labels.yaml"],
                "text_cache_dir": "/tmp/texts",
            },
            "decode": {"processes": 1},
            "batch": {"max_size": 8},
            "workers": {"count": 1, "grace_s": 20},
            "endpoints": {"host": "0.0.0.0", "health_port": 8080, "metrics_port": 9400},
        }
        self._settings = Settings.model_validate(self.values)
        self._topic = self._settings.kafka.input_topics[0]
        with KafkaAdmin(self._settings.kafka) as admin:
            admin.create_topics(sound_topics(self._settings.kafka), partitions, replication=1)
        self._objects = list(self._put(name))
        self.one_image = (self._objects[0].bucket, self._objects[0].key)
        """Bucket and key."""
        self._reader = OutcomeReader(self._settings.kafka)
        self._sent = 0
        self.outcomes: Counter[bytes] = Counter()
        """By the key of the reference: its classifications and dead letters seen so far."""
        self.dead_letters = 0
        self.label_sets: dict[bytes, set[str]] = {}
        """Versions of the label sets by which a reference was classified, by its key."""
        self._published_ms: dict[bytes, int] = {}

    def _put(self, bucket: str) -> Iterator[StoredObject]:
        admin = S3Admin(self._settings.s3)
        admin.create_bucket(bucket)
        for number, image in enumerate(demo_images(1, IMAGES)):
            key = f"{number}-{image.key}"
            written = admin.put(bucket, key, image.body)
            yield StoredObject(bucket, key, written.etag or "", len(image.body))
        admin.close()

    def send(self, count: int) -> list[bytes]:
        """Enqueue references to the images, each with a key of its own; return the keys."""
        native = list(messages(self._objects))
        with ReferenceProducer(self._settings.kafka, self._topic) as producer:
            for number in range(self._sent, self._sent + count):
                chosen = native[number % len(native)]
                producer.send(b"%d" % number, chosen.value, chosen.headers)
            producer.flush()
        keys = [b"%d" % number for number in range(self._sent, self._sent + count)]
        self._sent += count
        return keys

    def poll(self, timeout_s: float = 0.2) -> int:
        """Read what is visible; the number of references with an outcome so far."""
        for outcome in self._reader.poll(timeout_s):
            if outcome.topic is OutputTopic.EMBEDDINGS:
                continue
            key = outcome.key or b""
            self.outcomes[key] += 1
            self._published_ms[key] = outcome.timestamp_ms
            if outcome.topic is OutputTopic.DEAD_LETTERS:
                self.dead_letters += 1
            else:
                results = json.loads(outcome.value)["results"]
                self.label_sets[key] = {it["version"] for it in results}
        return len(self.outcomes)

    def until_all(self, within_s: float = OUTCOMES_S) -> None:
        """Read until every reference has an outcome, and then a moment longer.

        Raises ``AssertionError`` if one is missing after the time, or has two.
        """
        deadline = time.monotonic() + within_s
        while self.poll() < self._sent:
            assert time.monotonic() < deadline, f"{len(self.outcomes)} of {self._sent} outcomes"
        self.poll(1.0)
        assert set(self.outcomes.values()) == {1}, self.outcomes.most_common(5)

    def gaps_s(self, sent: Collection[bytes]) -> dict[int, float]:
        """Longest time between two outcomes of the references ``sent``, by their partition.

        If they were sent steadily, it is the time without progress.
        """
        times: dict[int, list[int]] = {}
        for partition, _, key in input_keys(self._settings.kafka):
            if key in sent:
                times.setdefault(partition, []).append(self._published_ms[key])
        return {
            partition: max(b - a for a, b in itertools.pairwise(sorted(published))) / 1000
            for partition, published in sorted(times.items())
        }

    def members(self) -> set[str]:
        """Instances of the group's members, as the broker has them now."""
        with KafkaAdmin(self._settings.kafka) as admin:
            group = self._settings.kafka.group
            described = admin.client.describe_groups([group])
        return {it["group_instance_id"] for it in described[group]["members"]}

    def close(self) -> None:
        self._reader.__exit__(None, None, None)


@contextmanager
def open_stream(
    kubectl: Kubectl, kafka: EmbeddedKafka, s3: S3Server, partitions: int = 6
) -> Iterator[PodStream]:
    """A stream named after the namespace, which gets its settings and the keys of S3."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
        stream = PodStream(kafka, s3, kubectl.namespace, partitions)
        try:
            kubectl.apply(settings_map(stream.values), s3_secret(s3))
            yield stream
        finally:
            stream.close()


def settings_map(values: Object) -> Object:
    """The ConfigMap of a settings file."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": SETTINGS},
        "data": {"settings.yaml": yaml.safe_dump(values)},
    }
