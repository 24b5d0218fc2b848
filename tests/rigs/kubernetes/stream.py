"""A stream for a release to work on: topics, images in a bucket, references, outcomes."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from deploy.dev.cluster.kubectl import Kubectl
from deploy.dev.cluster.supplies import s3_secret
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.doctor import sound_topics
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.adapters.kafka.outcomes import OutcomeReader, PublishedOutcome, input_keys
from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.folder import S3Folder
from pipeline.adapters.s3.policy import S3Policy
from pipeline.records import OutputTopic
from tests.rigs.kubernetes.judged import verdict_of
from workers.demo.messages import StoredObject, messages
from workers.demo.shapes import demo_images
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.s3 import S3Server

OUTCOMES_S = 420.0
"""For all outcomes, a start of Ray on a busy machine included."""

PARTITIONS = 6

LOAD, LOAD_PAUSE_S = 2 * PARTITIONS, 0.5
"""References that ``under_load`` sends at once, and how long it rests. Keys choose partitions, so
that two references of one partition may be some 2 s apart."""

NOTHING: dict[str, Any] = {"assigned_partitions": []}
"""The assignment of a member that waits for one."""

IMAGES = 9
"""So few that the demo puts no two into one message."""


class PodStream:
    """One deployment's topics and bucket. ``open_stream`` makes and closes it."""

    def __init__(self, kafka: EmbeddedKafka, s3: S3Server, name: str) -> None:
        self.settings: dict[str, Any] = {
            "kafka": {
                "bootstrap_servers": [kafka.bootstrap],
                "group": name,
                "input_topics": [f"{name}.references"],
                "output_topics": {
                    "classifications": f"{name}.classifications",
                    "embeddings": f"{name}.embeddings",
                    "dead_letters": f"{name}.dead-letters",
                },
            },
            "s3": {"endpoint": s3.endpoint, "region": s3.region, "allowed_buckets": [name]},
            "model": {"device": "cpu", "precision": "fp32", "threads": 1},
            "decode": {"processes": 1},
            "batch": {"max_size": 8},
            "workers": {"count": 1, "grace_s": 20},
        }
        """What a release must be told of it, and little work at a time."""
        self.kafka = KafkaPolicy.model_validate(self.settings["kafka"])
        self._s3 = S3Policy.model_validate(self.settings["s3"])
        with KafkaAdmin(self.kafka) as admin:
            admin.create_topics(sound_topics(self.kafka), PARTITIONS, replication=1)
        self._objects = list(self._put(name))
        self.one_image = (self._objects[0].bucket, self._objects[0].key)
        """Bucket and key."""
        self.derived = f"{name}-derived"
        """A bucket for what a backfill writes of the images."""
        self._reader = OutcomeReader(self.kafka)
        self._sent = 0
        self.visible: list[PublishedOutcome] = []
        """All that was read so far."""
        self.outcomes: Counter[bytes] = Counter()
        """By the key of the reference: its classifications and dead letters seen so far."""
        self.embeddings: Counter[bytes] = Counter()
        self.dead_letters = 0
        self.label_sets: dict[bytes, set[str]] = {}
        """Versions of the label sets by which a reference was classified, by its key."""
        self.models: dict[bytes, tuple[str, str]] = {}
        """Name and revision of the model that looked at a reference's image, by its key."""
        self._published_ms: dict[bytes, int] = {}
        self._load_began = 0.0

    def _put(self, bucket: str) -> Iterator[StoredObject]:
        admin = S3Admin(self._s3)
        admin.create_bucket(bucket)
        admin.create_bucket(f"{bucket}-derived")
        for number, image in enumerate(demo_images(1, IMAGES)):
            key = f"{number}-{image.key}"
            written = admin.put(bucket, key, image.body)
            yield StoredObject(bucket, key, written.etag or "", len(image.body))
        admin.close()

    def send(self, count: int) -> list[bytes]:
        """Enqueue references to the images, each with a key of its own; return the keys."""
        native = list(messages(self._objects))
        with ReferenceProducer(self.kafka, self.kafka.input_topics[0]) as producer:
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
            self._take(outcome)
        return len(self.outcomes)

    def _take(self, outcome: PublishedOutcome) -> None:
        self.visible.append(outcome)
        key = outcome.key or b""
        if outcome.topic is OutputTopic.EMBEDDINGS:
            self.embeddings[key] += 1
            return
        self.outcomes[key] += 1
        self._published_ms[key] = outcome.timestamp_ms
        if outcome.topic is OutputTopic.DEAD_LETTERS:
            self.dead_letters += 1
            return
        event = json.loads(outcome.value)
        self.label_sets[key] = {it["version"] for it in event["results"]}
        self.models[key] = (event["model"]["name"], event["model"]["revision"])

    def until_all(self, within_s: float = OUTCOMES_S) -> None:
        """Read until every reference has an outcome and every classification its embedding, and
        then a moment longer.

        Raises ``AssertionError`` if one is missing after the time, or is there twice.
        """
        deadline = time.monotonic() + within_s
        while self.poll() < self._sent or self.embeddings.keys() < self.label_sets.keys():
            told = (
                f"{len(self.outcomes)} of {self._sent} outcomes, {len(self.embeddings)} embeddings"
            )
            assert time.monotonic() < deadline, told
        self.poll(1.0)
        assert set(self.outcomes.values()) == {1}, self.outcomes.most_common(5)
        assert self.embeddings == Counter(dict.fromkeys(self.label_sets, 1))

    def judge(self) -> None:
        """Judge all that was published for all that was sent.

        Raises ``AssertionError`` if an outcome is lost, doubled, out of order, or not committed.
        """
        for outcome in self._reader.rest():
            self._take(outcome)
        verdict = verdict_of(self.kafka, self.visible)
        assert verdict.inputs == self._sent
        assert verdict.passed, verdict

    def classified_by_another(self, versions: Collection[str]) -> bool:
        """Send references, and wait for their outcomes: whether no label set of these versions
        classified one of them."""
        sent = self.send(5 * PARTITIONS)
        self.until_all()
        return not any({*versions} & self.label_sets[key] for key in sent)

    def derived_folder(self, prefix: str) -> S3Folder:
        """What is below the prefix of the bucket ``derived``."""
        return S3Folder(self._s3, self.derived, prefix)

    @contextmanager
    def under_load(self) -> Iterator[set[bytes]]:
        """Send references steadily while the block runs, and nothing else may send.

        Their keys are in the set when the block has ended.
        """
        sent: set[bytes] = set()
        over = threading.Event()
        self._load_began = time.time()

        def send() -> None:
            while not over.wait(LOAD_PAUSE_S):
                sent.update(self.send(LOAD))

        with ThreadPoolExecutor(1) as executor:
            sending = executor.submit(send)
            try:
                yield sent
            finally:
                over.set()
            sending.result()

    def published(self, sent: Collection[bytes]) -> dict[int, list[float]]:
        """When the references that were ``sent`` under load got their outcomes (seconds since 1970,
        in order), by their partition. The first time is when the load began."""
        times: dict[int, list[float]] = {}
        for partition, _, key in input_keys(self.kafka):
            if key in sent:
                times.setdefault(partition, []).append(self._published_ms[key] / 1000)
        return {
            partition: [self._load_began, *sorted(each)]
            for partition, each in sorted(times.items())
        }

    def owners(self) -> dict[int, str]:
        """Instance of the group's member that reads each partition, as the broker has it now."""
        return {
            partition: member["group_instance_id"]
            for member in self._members()
            for topic in (member["member_assignment"] or NOTHING)["assigned_partitions"]
            for partition in topic["partitions"]
        }

    def members(self) -> set[str]:
        """Instances of the group's members, as the broker has them now."""
        return {member["group_instance_id"] for member in self._members()}

    def _members(self) -> Any:
        group = self.kafka.group
        with KafkaAdmin(self.kafka) as admin:
            return admin.client.describe_groups([group])[group]["members"]

    def close(self) -> None:
        self._reader.__exit__(None, None, None)


def pauses(what: str, published: dict[int, list[float]]) -> dict[int, float]:
    """The longest time without an outcome, in seconds, by partition; printed with what has
    happened meanwhile."""
    longest = {
        partition: round(max(b - a for a, b in itertools.pairwise(times)), 1)
        for partition, times in published.items()
    }
    print(f"{what}: seconds without an outcome, by partition: {longest}")
    return longest


def cost_of_a_notice(
    what: str,
    published: dict[int, list[float]],
    others: Collection[int],
    left: float,
    back: float,
) -> dict[str, Any]:
    """What is written of a spot notice to one of two pods: ``pauses``, and which partitions are the
    other pod's.

    Raises ``AssertionError`` if one of these had no outcome between ``left`` and ``back`` (seconds
    since 1970), while the pod was away.
    """
    longest = pauses(what, published)
    for partition in others:
        assert any(left < at < back for at in published[partition]), f"partition {partition} waited"
    return {"partitions_of_the_other_pod": sorted(others), "without_an_outcome_s": longest}


@contextmanager
def open_stream(kubectl: Kubectl, kafka: EmbeddedKafka, s3: S3Server) -> Iterator[PodStream]:
    """A stream named after the namespace, which gets the keys of S3."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
        stream = PodStream(kafka, s3, kubectl.namespace)
        try:
            kubectl.apply(s3_secret(s3))
            yield stream
        finally:
            stream.close()
