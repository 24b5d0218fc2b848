"""Administration over kafka-python: topics, the group's first offsets, members that have left for
good."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self

import kafka.errors as kafka_errors
from kafka import KafkaAdminClient, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, MemberToRemove, OffsetSpec

from pipeline.adapters.kafka.clients import connect
from pipeline.adapters.kafka.failures import administrated, administrating, connecting
from pipeline.adapters.kafka.offsets import OffsetNote, progress_of
from pipeline.adapters.kafka.policy import KafkaPolicy, common_options
from pipeline.errors import Halt, Retry
from pipeline.records import OutputTopic

log = logging.getLogger(__name__)

Start = Literal["earliest", "latest", "none"] | datetime

OLDEST_BROKER = (2, 8)
"""The first release whose topics have ids. Before 2.5, kafka-python's producer hangs after an
answer that a sequence is out of order (B6)."""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """The parts of event ids that come from the cluster."""

    cluster_id: str
    topic_ids: Mapping[str, str]


class KafkaAdmin:
    """Short-lived: open it, use it, close it."""

    def __init__(self, kafka: KafkaPolicy) -> None:
        """Connect.

        Raises:
            Retry: no broker answers.
            Halt: not allowed, or kafka.security cannot be used.
        """
        self._kafka = kafka
        options = common_options(kafka, "clipstream-admin")
        failure = partial(administrated, doing="connecting")
        with connecting(kafka.bootstrap_servers, failure):
            self._client: Any = connect(KafkaAdminClient, options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def topics(self, names: Collection[str]) -> dict[str, dict[str, Any]]:
        """Descriptions by name. Topics that do not exist are left out."""
        with administrating("describing topics"):
            found = self._client.describe_topics(list(names))
        return {topic["name"]: topic for topic in found if not topic["error_code"]}

    def facts(self) -> ClusterFacts:
        """Ids of the cluster and of the input topics.

        Raises:
            Halt: a topic does not exist, or the brokers are too old.
        """
        self._require_topic_ids()
        outputs = [self._kafka.output_topics.name(topic) for topic in OutputTopic]
        topics = self.topics([*self._kafka.input_topics, *outputs])
        missing = {*self._kafka.input_topics, *outputs} - topics.keys()
        if missing:
            raise Halt(
                "kafka.topic_missing",
                f"kafka: no topic {', '.join(sorted(missing))}, or no right to describe it; run "
                "clipstream doctor --create-topics, or grant Describe",
            )
        with administrating("describing the cluster"):
            cluster = self._client.describe_cluster()
        return ClusterFacts(
            str(cluster["cluster_id"]),
            {name: str(topics[name]["topic_id"]) for name in self._kafka.input_topics},
        )

    def initialise_group(self, facts: ClusterFacts, start: Start) -> None:
        """Commit the first offsets of a group that has none on a topic, for all its partitions.

        The broker accepts such offsets only while the group has no members. Of several drivers that
        start together, one does it and the others find it done. From then on a missing offset means
        that something was lost, and halts the worker that finds it.

        Raises:
            Halt: the group has members but no offsets on a topic; or ``start`` is ``none`` and the
                group has no offsets on a topic, because they have expired or the topic was created
                again.
        """
        for topic, topic_id in facts.topic_ids.items():
            partitions = self._partitions(topic)
            if self._has_offsets(partitions):
                continue
            if start == "none":
                raise Halt(
                    "kafka.offset_missing",
                    f"kafka: group {self._kafka.group} has no offsets on {topic} (they have "
                    "expired or were deleted, the topic was created anew, or the group is new) "
                    "and delivery.start is none; set them with kafka-consumer-groups.sh "
                    "--reset-offsets, or start once with another delivery.start",
                )
            note = str(OffsetNote(topic_id, len(partitions)))
            first = {
                partition: OffsetAndMetadata(offset, note, -1)
                for partition, offset in self._starts(partitions, start).items()
            }
            with administrating("committing first offsets"):
                answers = self._client.alter_group_offsets(self._kafka.group, first)
                refused = {each for each in answers.values() if each is not kafka_errors.NoError}
                for each in refused:
                    # Other errors mean that the group has members, or has offsets by now.
                    if issubclass(
                        each, (kafka_errors.RetriableError, kafka_errors.AuthorizationError)
                    ):
                        raise each
            if refused and not self._has_offsets(partitions):
                names = ", ".join(sorted(error.__name__ for error in refused))
                raise Halt(
                    "kafka.group_not_initialised",
                    f"kafka: group {self._kafka.group} has members but no offsets on {topic} "
                    f"({names}); stop the group's other members and start again",
                )
            if not refused:
                log.info(
                    "group %s had no offsets on %s: it starts at %s",
                    self._kafka.group,
                    topic,
                    start,
                )

    def lag(self) -> int:
        """Records of the input topics that the group has not committed, in all partitions, whoever
        owns them. A partition without an offset was added later and is read from its first record.

        Raises:
            Retry: the brokers do not know every partition.
        """
        described = self.topics(self._kafka.input_topics)
        partitions = [
            TopicPartition(name, each["partition_index"])
            for name, topic in described.items()
            for each in topic["partitions"]
        ]
        with administrating("reading the group's lag"):
            listed = self._client.list_group_offsets({self._kafka.group: partitions})
            ends = self._client.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
        unknown = set(self._kafka.input_topics) - described.keys()
        if unknown or set(partitions) - ends.keys():
            raise Retry("kafka.unavailable", "kafka: not all partitions say where they end")
        done = {tp: progress_of(at).count for tp, at in listed.get(self._kafka.group, {}).items()}
        return sum(max(0, end.offset - max(0, done.get(tp, 0))) for tp, end in ends.items())

    def remove_members(self, instances: Collection[str]) -> None:
        """Remove static members from the group, so that their partitions move at once and not after
        the session timeout. Names that are not members are ignored."""
        members = [MemberToRemove(group_instance_id=instance) for instance in instances]
        with administrating("removing members"):
            self._client.remove_group_members(self._kafka.group, members)

    def remove_group(self) -> None:
        """Remove the group with its offsets. A group that does not exist is ignored.

        Raises:
            Retry: the group still has members, or its coordinator does not answer.
            Halt: not allowed.
        """
        group = self._kafka.group
        with administrating(f"removing group {group}"):
            answers = self._client.delete_groups([group])
        answer = answers.get(group, "OK")
        if answer == "GroupAuthorizationFailedError":
            raise Halt(
                "kafka.not_authorized",
                f"kafka: removing group {group} is not allowed; grant Delete on the group",
            )
        if answer not in ("OK", "GroupIdNotFoundError"):
            raise Retry("kafka.unavailable", f"kafka: group {group} cannot be removed ({answer})")

    def remove_topics(self, names: Collection[str]) -> None:
        """Remove topics with their records. Topics that do not exist are ignored."""
        there = self.topics(names)
        if there:
            with administrating("removing topics"):
                self._client.delete_topics(list(there))

    def create_topics(
        self, topics: Mapping[str, Mapping[str, str]], partitions: int, replication: int
    ) -> tuple[str, ...]:
        """Create topics with their settings. Existing topics are not changed.

        ``partitions`` or ``replication`` of -1 leaves the number to the broker.

        Returns:
            Names of the created topics.
        """
        existing = self.topics(topics.keys())
        wanted = {
            name: {
                "num_partitions": partitions,
                "replication_factor": replication,
                "configs": dict(configs),
            }
            for name, configs in topics.items()
            if name not in existing
        }
        if wanted:
            with administrating("creating topics"):
                self._client.create_topics(wanted, wait_for_metadata=True)
        return tuple(wanted)

    def replication(self, names: Collection[str]) -> dict[str, int]:
        """Replicas of each existing topic, taken from its partition with the fewest."""
        return {
            name: min((len(each["replica_nodes"]) for each in topic["partitions"]), default=0)
            for name, topic in self.topics(names).items()
        }

    def configure_topics(self, topics: Mapping[str, Mapping[str, str]]) -> None:
        """Set these settings of existing topics. Other settings are not changed.

        Raises:
            Halt: the broker refused a change.
        """
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, name, dict(configs))
            for name, configs in topics.items()
        ]
        if not resources:
            return
        with administrating("configuring topics"):
            # The client's check of names would need the right to read settings, from a broker that
            # may not know a new topic yet.
            answers = self._client.alter_configs(resources, raise_on_unknown=False)
        for of_topics in answers.values():
            for name, answer in of_topics.items():
                if answer != "OK":
                    changes = ", ".join(f"{key}={value}" for key, value in topics[name].items())
                    raise Halt(
                        "kafka.refused",
                        f"kafka: {changes} of topic {name} cannot be set ({answer}); set it "
                        "yourself, or grant AlterConfigs on the topic",
                    )

    @property
    def client(self) -> Any:
        """The kafka-python client, for the checks of ``doctor``."""
        return self._client

    def _require_topic_ids(self) -> None:
        version = self._client._manager.broker_version
        if version < OLDEST_BROKER:
            raise Halt(
                "kafka.too_old",
                f"kafka: the brokers speak the protocol of Kafka {'.'.join(map(str, version))}; "
                f"{'.'.join(map(str, OLDEST_BROKER))} or later is needed, for the ids of topics",
            )

    def _partitions(self, topic: str) -> list[TopicPartition]:
        described = self.topics([topic])[topic]["partitions"]
        return [TopicPartition(topic, each["partition_index"]) for each in described]

    def _has_offsets(self, partitions: list[TopicPartition]) -> bool:
        with administrating("reading the group's offsets"):
            listed = self._client.list_group_offsets({self._kafka.group: partitions})
        return any(found.offset >= 0 for found in listed.get(self._kafka.group, {}).values())

    def _starts(self, partitions: list[TopicPartition], start: Start) -> dict[TopicPartition, int]:
        spec: Any
        if isinstance(start, datetime):
            spec = round(start.timestamp() * 1000)
        else:
            spec = OffsetSpec.EARLIEST if start == "earliest" else OffsetSpec.LATEST
        with administrating("listing offsets"):
            found = self._client.list_partition_offsets(dict.fromkeys(partitions, spec))
            # No record at or after the time: start after the last one.
            late = [tp for tp, at in found.items() if at.offset < 0]
            ends = self._client.list_partition_offsets(dict.fromkeys(late, OffsetSpec.LATEST))
        return {tp: ends.get(tp, at).offset for tp, at in found.items()}
