"""The Kafka checks of `clipstream doctor`: topics, permissions, durability, limits,
transactions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import kafka.errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.failures import Meaning, administrating, meaning
from pipeline.adapters.kafka.policy import DeliveryPolicy, KafkaPolicy, Member
from pipeline.adapters.kafka.sink import KafkaSink
from pipeline.errors import PipelineError
from pipeline.ports import Check, CheckResult
from pipeline.records import OutputTopic

INTERNAL_TOPICS = ("__consumer_offsets", "__transaction_state")
OFFSET_METADATA_BYTES = 4096
"""Room for the longest ``OffsetNote``; a broker's default."""

SAFE_REPLICATION = 3
SAFE_MIN_ISR = 2
CREATED_RETENTION_MS = 7 * 24 * 3600 * 1000
DEAD_LETTER_RETENTION_MS = 30 * 24 * 3600 * 1000
"""Longer, because dead letters wait for people."""


def sound_topics(kafka: KafkaPolicy, served: str | None = None) -> dict[str, dict[str, str]]:
    """Settings of every topic that Clipstream uses, as created by ``doctor --create-topics``.
    ``served`` is the topic of images that came over HTTP, if their outcomes are published."""
    durable = {"unclean.leader.election.enable": "false"}
    topics = {
        name: durable
        | {
            "max.message.bytes": str(kafka.max_input_bytes),
            "retention.ms": str(CREATED_RETENTION_MS),
        }
        for name in (
            *kafka.input_topics,
            kafka.output_topics.classifications,
            kafka.output_topics.embeddings,
            *([served] if served else ()),
        )
    }
    topics[kafka.output_topics.dead_letters] = durable | {
        "max.message.bytes": str(kafka.max_request_bytes),
        "retention.ms": str(DEAD_LETTER_RETENTION_MS),
    }
    return topics


class KafkaDoctor:
    """Checks one cluster for one deployment. Only reads, apart from a transactional id of its
    own."""

    def __init__(
        self,
        admin: KafkaAdmin,
        kafka: KafkaPolicy,
        delivery: DeliveryPolicy,
        member: Member,
        workers: int,
        served: str | None = None,
    ) -> None:
        """``served`` is as for ``sound_topics``."""
        self._admin = admin
        self._kafka = kafka
        self._delivery = delivery
        self._member = member
        self._workers = workers
        self._served = served

    def check(self) -> Iterator[Check]:
        """All findings. A later check assumes that the earlier ones passed."""
        outputs = [self._kafka.output_topics.name(topic) for topic in OutputTopic]
        outputs += [self._served] if self._served else []
        topics = self._admin.topics([*self._kafka.input_topics, *outputs, *INTERNAL_TOPICS])
        settings = self._settings(ConfigResourceType.TOPIC, list(topics))
        for name in self._kafka.input_topics:
            yield from self._topic(name, topics, settings, "READ")
            yield from self._input(name, topics, settings)
        yield from self._shared_out(topics)
        for name in outputs:
            yield from self._topic(name, topics, settings, "WRITE")
            yield from self._output(name, settings)
        for name in INTERNAL_TOPICS:
            if name in topics and name in settings:
                yield self._durability(name, topics[name], settings[name])
        yield from self._broker()
        yield self._group()
        if self._delivery.mode == "exactly_once":
            yield self._transactional_id()
            yield self._hanging()

    def check_outputs(self) -> Iterator[Check]:
        """Findings about the output topics alone."""
        outputs = [self._kafka.output_topics.name(topic) for topic in OutputTopic]
        topics = self._admin.topics(outputs)
        settings = self._settings(ConfigResourceType.TOPIC, list(topics))
        for name in outputs:
            yield from self._topic(name, topics, settings, "WRITE")
            yield from self._output(name, settings)

    # -- topics -----------------------------------------------------------------------------

    def _topic(
        self, name: str, topics: Mapping[str, Any], settings: Mapping[str, Any], operation: str
    ) -> Iterator[Check]:
        subject = f"topic {name}"
        if name not in topics:
            yield _failed(
                subject, "does not exist, or may not be described; create it (--create-topics)"
            )
            return
        allowed = topics[name].get("authorized_operations")
        wanted = {operation, "DESCRIBE"}
        # None: the broker has no authorizer.
        if allowed is not None and not wanted <= {*allowed} and "ALL" not in allowed:
            lacking = ", ".join(sorted(wanted - {*allowed}))
            yield _failed(subject, f"{lacking} is not allowed; grant it to this principal")
            return
        yield _passed(subject, f"{len(topics[name]['partitions'])} partitions")
        if name in settings:
            yield self._durability(name, topics[name], settings[name])
        else:
            yield _warning(
                f"settings of {name}",
                "may not be read (DescribeConfigs on the topic); durability and limits are not "
                "checked",
            )

    def _durability(
        self, name: str, topic: Mapping[str, Any], settings: Mapping[str, str]
    ) -> Check:
        subject = f"durability of {name}"
        replicas = min((len(p["replica_nodes"]) for p in topic["partitions"]), default=0)
        in_sync = int(settings.get("min.insync.replicas", "1"))
        if settings.get("unclean.leader.election.enable") == "true":
            return _failed(
                subject,
                "unclean.leader.election.enable is true: acknowledged records can vanish; set it "
                "to false",
            )
        if replicas < SAFE_REPLICATION or in_sync < SAFE_MIN_ISR:
            return _warning(
                subject,
                f"replication {replicas}, min.insync.replicas {in_sync}: one lost broker can lose "
                f"acknowledged records; use {SAFE_REPLICATION} and {SAFE_MIN_ISR} in production",
            )
        if in_sync >= replicas:
            return _warning(
                subject,
                f"min.insync.replicas {in_sync} of {replicas} replicas: one broker down stops "
                "writes; lower it by one",
            )
        return _passed(subject, f"replication {replicas}, min.insync.replicas {in_sync}")

    def _input(
        self, name: str, topics: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> Iterator[Check]:
        if name not in topics:
            return
        limit = int(settings.get(name, {}).get("max.message.bytes", "0"))
        if limit > self._kafka.max_input_bytes:
            yield _failed(
                f"size limit of {name}",
                f"max.message.bytes is {limit}, above kafka.max_input_bytes "
                f"({self._kafka.max_input_bytes}): a larger record would not fit a dead letter; "
                "raise the setting, and max.message.bytes of the dead-letter topic with it",
            )

    def _shared_out(self, topics: Mapping[str, Any]) -> Iterator[Check]:
        """Whether each worker gets a partition. The partitions of all input topics are shared out
        together. Says nothing if a topic is not known."""
        names = self._kafka.input_topics
        if any(name not in topics for name in names):
            return
        partitions = sum(len(topics[name]["partitions"]) for name in names)
        if partitions < self._workers:
            yield _warning(
                f"partitions of {', '.join(names)}",
                f"{partitions} for up to {self._workers} workers: {self._workers - partitions} "
                "will idle; add partitions, or lower workers.max_count (workers.count if it is "
                "not set)",
            )

    def _output(self, name: str, settings: Mapping[str, Any]) -> Iterator[Check]:
        of_topic = settings.get(name)
        if of_topic is None:
            return
        if "compact" in of_topic.get("cleanup.policy", ""):
            yield _failed(
                f"clean-up of {name}",
                "cleanup.policy compacts, so that only the last of several outcomes with the same "
                "key would stay; set it to delete",
            )
        needed, why = {
            self._kafka.output_topics.dead_letters: (
                self._kafka.max_request_bytes,
                "input maximum + 64 KiB",
            ),
            self._served: (self._kafka.max_input_bytes, "kafka.max_input_bytes"),
        }.get(name, (None, ""))
        if needed is not None:
            limit = int(of_topic.get("max.message.bytes", "0"))
            check = _passed if limit >= needed else _failed
            yield check(
                f"size limit of {name}",
                f"max.message.bytes is {limit}"
                + ("" if limit >= needed else f"; set it to {needed}: {why}"),
            )

    # -- brokers ----------------------------------------------------------------------------

    def _broker(self) -> Iterator[Check]:
        with administrating("describing the cluster"):
            described = self._admin.client.describe_cluster()
        node = str(next(iter(described["brokers"]))["broker_id"])
        try:
            found = self._settings(ConfigResourceType.BROKER, [node])[node]
        except (PipelineError, KeyError):
            yield _warning(
                "broker settings",
                "may not be read (DescribeConfigs on the cluster); the limits are not checked",
            )
            return
        longest_ms = int(found.get("transaction.max.timeout.ms", "900000"))
        ours_ms = round(self._delivery.transaction_timeout_s * 1000)
        if ours_ms > longest_ms:
            yield _failed(
                "transaction timeout",
                f"transaction.max.timeout.ms is {longest_ms}; lower delivery.transaction_timeout_s "
                f"to {longest_ms / 1000:g}",
            )
        shortest_ms = int(found.get("group.min.session.timeout.ms", "6000"))
        most_ms = int(found.get("group.max.session.timeout.ms", "1800000"))
        session_ms = round(self._delivery.session_timeout_s * 1000)
        if not shortest_ms <= session_ms <= most_ms:
            yield _failed(
                "session timeout",
                f"the broker accepts {shortest_ms / 1000:g} to {most_ms / 1000:g} s; set "
                "delivery.session_timeout_s to a value in this range",
            )
        note_bytes = int(found.get("offset.metadata.max.bytes", "4096"))
        if note_bytes < OFFSET_METADATA_BYTES and self._delivery.order != "partition":
            yield _failed(
                "offset metadata",
                f"offset.metadata.max.bytes is {note_bytes}; raise it to {OFFSET_METADATA_BYTES}, "
                "or set delivery.order to partition",
            )
        if found.get("transaction.partition.verification.enable", "true") == "false":
            yield _failed(
                "transaction verification",
                "transaction.partition.verification.enable is false: a late message can join a "
                "transaction that is over; set it to true",
            )
        yield _passed("broker settings", f"read from broker {node}")

    def _group(self) -> Check:
        subject = f"group {self._kafka.group}"
        try:
            described = self._admin.client.describe_groups(
                [self._kafka.group], include_authorized_operations=True
            )
        except kafka_errors.KafkaError as error:
            if meaning(error) is Meaning.NOT_AUTHORIZED:
                return _failed(subject, "may not be described; grant Read")
            # A new cluster creates its group coordinator at the first request for it.
            return _warning(subject, f"its coordinator does not answer ({type(error).__name__})")
        group = described[self._kafka.group] if isinstance(described, dict) else described[0]
        allowed = group.get("authorized_operations")
        if allowed and not {"READ", "ALL"} & {*allowed}:
            return _failed(subject, "READ is not allowed; grant it to this principal")
        return _passed(subject, f"state {group.get('group_state', 'unknown')}")

    def _transactional_id(self) -> Check:
        member = Member(
            self._member.prefix, self._member.group, f"{self._member.instance}-doctor", 0
        )
        subject = f"transactional ids {self._member.prefix}/*"
        sink = KafkaSink(self._kafka, self._delivery, member)
        try:
            sink.build()
        except PipelineError as error:
            return _failed(subject, error.message)
        finally:
            sink.discard()
        return _passed(subject, "a transactional producer can start")

    def _hanging(self) -> Check:
        subject = "hanging transactions"
        try:
            hanging = self._admin.client.find_hanging_transactions()
        except kafka_errors.KafkaError as error:
            return _warning(subject, f"cannot be searched for ({type(error).__name__})")
        if hanging:
            ids = ", ".join(str(each["transactional_id"]) for each in hanging[:5])
            return _failed(
                subject,
                f"{len(hanging)} ({ids}) block read_committed consumers; end them with "
                "kafka-transactions.sh abort",
            )
        return _passed(subject, "none")

    def _settings(self, kind: Any, names: list[str]) -> dict[str, dict[str, str]]:
        """Effective settings by resource name. Resources that may not be read are left out; for
        these the client returns neither an error nor settings."""
        if not names:
            return {}
        resources = [ConfigResource(kind, name) for name in names]
        with administrating("reading settings"):
            described = self._admin.client.describe_configs(resources, config_filter="all")
        return {
            name: {key: str(entry["value"]) for key, entry in entries.items()}
            for by_name in described.values()
            for name, entries in by_name.items()
            if entries
        }


def _passed(subject: str, message: str) -> Check:
    return Check(subject, CheckResult.PASSED, message)


def _warning(subject: str, message: str) -> Check:
    return Check(subject, CheckResult.WARNING, message)


def _failed(subject: str, message: str) -> Check:
    return Check(subject, CheckResult.FAILED, message)
