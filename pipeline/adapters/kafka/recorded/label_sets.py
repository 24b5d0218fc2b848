"""The compacted topic that keeps each version of each label set."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.adapters.kafka.recorded.topic import RecordedTopic
from pipeline.errors import Halt
from pipeline.events.label_sets import label_set_record, read_label_set
from pipeline.events.parts import model_value
from pipeline.events.values.label_sets import LabelSetValue
from pipeline.labels.label_set import canonical_json, version_of
from pipeline.labels.recorded import SourcedLabelSet
from pipeline.records import EventRecord, ModelIdentity, Record

log = logging.getLogger(__name__)

MAX_RECORDED_WEIGHTS_BYTES = 256 << 10
"""Weights of this size still fit a record of Kafka's usual limit, 1 MiB, beside the label set."""


class LabelSetRecords:
    """Publishes label sets before they are used. Belongs to one thread at a time.

    Publishing is idempotent: a version that is there already is not published again. Of two workers
    that publish a version at the same moment, compaction keeps one record.
    """

    def __init__(
        self, kafka: KafkaPolicy, version: str, now: Callable[[], float] = time.time
    ) -> None:
        """Connects to nothing yet. ``version`` is Clipstream's. ``now`` returns Unix seconds."""
        self._kafka = kafka
        self._version = version
        self._now = now
        self._there: set[str] = set()
        self._was_found = False

    def publish(self, label_sets: Sequence[SourcedLabelSet], model: ModelIdentity) -> None:
        """Return when every version is on the topic. Blocks for a second or two at the first call,
        and for a new version. Without a topic, only warn: older deployments have none.

        Raises:
            Retry: the broker does not answer.
            Halt: writing is not allowed, or the topic has gone, or refuses a label set.
        """
        topic = self._kafka.output_topics.label_sets
        missing = {each.label_set.version: each for each in label_sets}
        missing = {at: each for at, each in missing.items() if at not in self._there}
        if topic is None or not missing or not self._is_found(topic):
            return
        self._there |= self._read(topic)
        missing = {at: each for at, each in missing.items() if at not in self._there}
        if not missing:
            return
        seen = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds")
        with ReferenceProducer(self._kafka, topic) as producer:
            for version, each in missing.items():
                value: LabelSetValue = {
                    "name": each.label_set.name,
                    "version": version,
                    "meaning": json.loads(each.label_set.canonical),
                    "text": each.text,
                    "first_seen": seen.replace("+00:00", "Z"),
                    "model": model_value(model),
                    "clipstream_version": self._version,
                }
                if each.weights is not None and len(each.weights) <= MAX_RECORDED_WEIGHTS_BYTES:
                    value["weights"] = base64.b64encode(each.weights).decode()
                record = label_set_record(value)
                self._check_size(each, record)
                producer.send(record.key, record.value, record.headers)
        for version, each in missing.items():
            log.info("label set %s, version %s, is published", each.label_set.name, version)
        self._there |= missing.keys()

    def _check_size(self, sourced: SourcedLabelSet, record: EventRecord) -> None:
        if record.size_bytes > self._kafka.max_input_bytes:
            raise Halt(
                "label_set.too_large",
                f"label set {sourced.label_set.name!r}: its record has {record.size_bytes} bytes, "
                f"more than kafka.max_input_bytes = {self._kafka.max_input_bytes}; split the label "
                "set, or raise the setting together with max.message.bytes of the topics, or set "
                "kafka.output_topics.label_sets to null",
            )

    def _read(self, topic: str) -> set[str]:
        """Versions that are there. Who may write alone publishes them again: compaction keeps the
        last record of a version, and ``first_seen`` is then that of the last publication."""
        try:
            return set(read_label_sets(self._kafka, topic))
        except Halt as refused:
            if refused.code != "kafka.not_authorized":
                raise
            log.warning("%s; grant Read, so that label sets are published once", refused.message)
            return set()

    def _is_found(self, topic: str) -> bool:
        with KafkaAdmin(self._kafka) as admin:
            found = topic in admin.topics([topic])
        if not found and self._was_found:
            raise Halt(
                "kafka.topic_missing",
                f"kafka: topic {topic} is gone; create it again (clipstream doctor "
                "--create-topics), or set kafka.output_topics.label_sets to null",
            )
        if not found:
            log.warning(
                "kafka: no topic %s, or no right to describe it: label sets are used without being "
                "published; create it (clipstream doctor --create-topics), or set "
                "kafka.output_topics.label_sets to null",
                topic,
            )
        self._was_found = found
        return found


def read_label_sets(kafka: KafkaPolicy, topic: str) -> dict[str, LabelSetValue]:
    """The label sets of the topic by version, oldest first. Of a version that two workers have
    published, the first record counts. A record that does not prove its version is passed over
    with a warning.

    Raises:
        Retry: the broker does not answer.
        Halt: there is no such topic, or it may not be read.
    """
    found: dict[str, LabelSetValue] = {}
    with RecordedTopic(kafka, topic) as recorded:
        for record in recorded.records():
            value = _proven(record)
            if value is not None:
                found.setdefault(value["version"], value)
    return dict(sorted(found.items(), key=lambda each: each[1]["first_seen"]))


def _proven(record: Record) -> LabelSetValue | None:
    if not record.value:  # a tombstone
        return None
    try:
        value = read_label_set(record.value, str(record.position))
    except Halt as unproven:
        log.warning("%s", unproven.message)
        return None
    if version_of(canonical_json(value["meaning"])) != value["version"]:
        log.warning(
            "%s: the label set does not have the version that it names; the record is passed over",
            record.position,
        )
        return None
    return value
