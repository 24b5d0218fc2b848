"""How Clipstream talks to Kafka: the settings, the order that the time limits must keep, and the
client options made of them."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.adapters.kafka.security.policy import KafkaSecurity
from pipeline.commit.order import Order
from pipeline.policy import Policy, Tier
from pipeline.records import OutputTopic

DEAD_LETTER_HEADROOM_BYTES = 64 * 1024
"""A dead letter holds the input record and headers about it, so the dead-letter topic must allow
larger records."""

MAX_TRANSACTION_TIMEOUT_S = 15.0
"""Longest transaction timeout. A worker that crashes inside a transaction blocks read_committed
consumers for this time, plus the broker's transaction reaper interval."""

MAX_BATCH_BYTES = 256 * 1024
"""Most bytes of records for one partition that are sent together."""

MAX_FETCH_BYTES = 128 * 1024
"""Most bytes fetched of one partition at a time; a single larger batch still arrives whole. The
client hands out all records of one partition before those of the next, so large fetches would let
the other partitions wait long."""

BOOTSTRAP_TIMEOUT_S = 10.0
"""Wait for the first answer of any broker, when a client is made."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SERVER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")
MAX_PORT = 65535


def check_topic(name: str) -> str:
    """The name, if Kafka accepts it as a topic's name; else ValueError."""
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise ValueError(
            f"{name[:60]!r} is not a topic's name; use 1 to 249 letters, digits, '.', '_' and '-'"
        )
    return name


class TopicNames(Policy):
    """Names of the output topics."""

    tier = Tier.EVERYDAY

    classifications: str = Field("clipstream.classifications", description="One event per image.")
    embeddings: str = Field("clipstream.embeddings", description="One embedding per image.")
    dead_letters: str = Field(
        "clipstream.dead-letters", description="References that could not be classified, and why."
    )
    actions: str | None = Field(
        None,
        description="What somebody must act on: decisions that are not their label set's default, "
        "and the unclassified actions of dead letters. Usually `clipstream.actions`. null: no such "
        "topic.",
    )
    label_sets: str | None = Field(
        "clipstream.label-sets",
        description="Compacted topic that keeps each version of each label set. A version is "
        "published before it is used, so any event can be explained later (`clipstream explain`). "
        "While there is no such topic, label sets are used without being published, and each start "
        "logs a warning. null: publish none.",
    )

    @field_validator("*")
    @classmethod
    def _legal(cls, name: str | None) -> str | None:
        return None if name is None else check_topic(name)

    @property
    def in_use(self) -> dict[OutputTopic, str]:
        """Names of the topics that are published to, by role."""
        names = {role: getattr(self, role.value) for role in OutputTopic}
        return {role: name for role, name in names.items() if name is not None}

    def name(self, topic: OutputTopic) -> str:
        """Name of a topic that is in use.

        Raises:
            KeyError: the topic is not in use.
        """
        value: str | None = getattr(self, topic.value)
        if value is None:
            raise KeyError(topic)
        return value


class KafkaPolicy(Policy):
    """Where references come from and where outcomes go."""

    tier = Tier.TUNING

    bootstrap_servers: Annotated[tuple[str, ...], Tier.EVERYDAY] = Field(
        ("localhost:9092",),
        description="Brokers to contact first, each as host:port.",
        min_length=1,
    )
    group: Annotated[str, Tier.EVERYDAY] = Field(
        "clipstream", description="Consumer group of the stream workers."
    )
    input_topics: Annotated[tuple[str, ...], Tier.EVERYDAY] = Field(
        ("clipstream.references",), description="Topics to read references from.", min_length=1
    )
    output_topics: TopicNames = Field(
        default_factory=TopicNames, description="Topics to publish to."
    )
    instance: Annotated[str | None, Tier.EVERYDAY] = Field(
        None,
        description="Name of this deployment's driver. It must be unique in the group and the "
        "same after a restart. Default: the host name (a StatefulSet's pod name). Transactional "
        "ids and member ids contain it.",
    )
    transactional_id_prefix: str = Field(
        "clipstream", description="First part of every transactional id, for use in access rules."
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        "none", description="Compression of published records. Embeddings hardly compress."
    )
    max_input_bytes: Annotated[int, Tier.EXPERT] = Field(
        1_048_588,
        description="max.message.bytes of the input topics. The default is Kafka's own. A dead "
        "letter may be 64 KiB larger.",
        gt=0,
    )
    security: KafkaSecurity = Field(default_factory=KafkaSecurity, description="TLS and SASL.")

    @field_validator("bootstrap_servers")
    @classmethod
    def _addresses(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for number, server in enumerate(servers, start=1):
            found = _SERVER.fullmatch(server)
            if found is None or not 1 <= int(found[1]) <= MAX_PORT:
                # The entry is not shown because a URL may hold a password.
                raise ValueError(
                    f"entry {number} is not host:port; write it as broker-1:9092 or "
                    "[2001:db8::1]:9092, without a scheme or path"
                )
        return servers

    @field_validator("input_topics")
    @classmethod
    def _topics(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_topic(name) for name in names)

    @field_validator("group", "transactional_id_prefix", "instance")
    @classmethod
    def _legal(cls, value: str | None) -> str | None:
        if value is not None and not _NAME.fullmatch(value):
            raise ValueError("use 1 to 249 letters, digits, '.', '_' and '-'")
        return value

    @model_validator(mode="after")
    def _no_loop(self) -> Self:
        names = list(self.output_topics.in_use.values())
        names += [self.output_topics.label_sets] if self.output_topics.label_sets else []
        if clash := set(self.input_topics) & set(names):
            raise ValueError(
                f"kafka.input_topics: {', '.join(sorted(clash))} is an output topic too; "
                "Clipstream would read what it writes: use another topic"
            )
        if len(set(names)) < len(names):
            raise ValueError("kafka.output_topics: two of them have the same name; use one each")
        return self

    @property
    def max_request_bytes(self) -> int:
        return self.max_input_bytes + DEAD_LETTER_HEADROOM_BYTES


class DeliveryPolicy(Policy):
    """The delivery guarantee and the time limits that it needs."""

    tier = Tier.EXPERT

    mode: Annotated[Literal["exactly_once", "at_least_once"], Tier.TUNING] = Field(
        "exactly_once",
        description="exactly_once: one transaction publishes outcomes and commits offsets. "
        "at_least_once: outcomes are acknowledged first and offsets committed afterwards; a crash "
        "in between publishes the same event ids again.",
    )
    order: Annotated[Order, Tier.TUNING] = Field(
        "key",
        description="What a finished outcome waits for. key: for earlier outcomes of the same key; "
        "outcomes of records without a key wait for none. none: for nothing. partition: for all "
        "earlier outcomes of its input partition, so one slow image holds up all that came after "
        "it. With key and none, a committed offset's metadata says what is done beyond it. A "
        "release without this setting cannot read that and halts; see docs/operations.md, Roll "
        "out a version.",
    )
    start: Annotated[Literal["earliest", "latest", "none"] | datetime, Tier.EVERYDAY] = Field(
        "earliest",
        description="Where a group starts on a topic on which it has no offsets: at the earliest "
        "record, at the latest, or at the first record at or after an RFC 3339 time. none: the "
        "driver halts instead. Set none once the group has started, because a group whose offsets "
        "have expired looks like a new one.",
    )
    commit_interval_s: Annotated[float, Tier.TUNING] = Field(
        0.25,
        description="Seconds between commits. Consumers see outcomes up to this much later.",
        gt=0,
    )
    max_outcomes_per_commit: int = Field(
        2000, description="Most outcomes in one transaction.", gt=0
    )
    max_mib_per_commit: int = Field(
        16,
        description="Most MiB of outcomes in one transaction. A single record whose outcomes are "
        "larger has a transaction of its own. All of a transaction must be acknowledged within "
        "delivery_timeout_s. After a failed commit the worker tries a smaller one.",
        gt=0,
    )
    request_timeout_s: float = Field(
        5.0, description="Seconds to wait for one answer of a broker.", gt=0
    )
    delivery_timeout_s: float = Field(
        10.0, description="Seconds to wait for a record's acknowledgement, retries included.", gt=0
    )
    transaction_timeout_s: float = Field(
        15.0,
        description="Seconds after which the broker aborts an open transaction.",
        gt=0,
        le=MAX_TRANSACTION_TIMEOUT_S,
    )
    session_timeout_s: float = Field(
        45.0,
        description="Seconds without a heartbeat after which a worker loses its partitions.",
        gt=0,
    )
    max_poll_interval_s: float = Field(
        300.0, description="Seconds without a poll after which a worker loses its partitions.", gt=0
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        names = (
            "request_timeout_s",
            "delivery_timeout_s",
            "transaction_timeout_s",
            "session_timeout_s",
            "max_poll_interval_s",
        )
        for small, large in itertools.pairwise(names):
            if getattr(self, small) >= getattr(self, large):
                raise ValueError(
                    f"delivery.{small}: {getattr(self, small):g} s must be below "
                    f"delivery.{large} ({getattr(self, large):g} s); lower it or raise the other"
                )
        if self.commit_interval_s >= self.transaction_timeout_s:
            raise ValueError(
                f"delivery.commit_interval_s: {self.commit_interval_s:g} s must be below "
                f"delivery.transaction_timeout_s ({self.transaction_timeout_s:g} s); lower it"
            )
        if isinstance(self.start, datetime) and self.start.tzinfo is None:
            raise ValueError("delivery.start: the time has no zone; write it as …Z or …+00:00")
        return self


@dataclass(frozen=True, slots=True)
class Member:
    """One worker's identity in the group. The identity is unique among all drivers and pods, and
    the same after a restart, so that the broker fences the earlier process and keeps the
    assignment."""

    prefix: str
    group: str
    instance: str
    slot: int

    @property
    def transactional_id(self) -> str:
        """Unique in the cluster. No part may contain the separator, so different groups and
        instances never produce the same id."""
        return f"{self.prefix}/{self.group}/{self.instance}/{self.slot}"

    @property
    def group_instance_id(self) -> str:
        return f"{self.instance}-{self.slot}"


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def common_options(kafka: KafkaPolicy, client_id: str) -> dict[str, Any]:
    return {
        "bootstrap_servers": list(kafka.bootstrap_servers),
        "client_id": client_id,
        # Notice moved partitions in time even when nothing fails.
        "metadata_max_age_ms": 30_000,
        "reconnect_backoff_max_ms": 2_000,
        "bootstrap_timeout_ms": _milliseconds(BOOTSTRAP_TIMEOUT_S),
        **kafka.security.client_options(),
    }


def consumer_options(
    kafka: KafkaPolicy, delivery: DeliveryPolicy, member: Member
) -> dict[str, Any]:
    """Options of the group's consumer. No deserializer, ever: an error in one makes kafka-python's
    next poll spin (rule R0)."""
    # Imported here so that settings can be loaded without the client.
    from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

    return {
        **common_options(kafka, f"clipstream-{member.group_instance_id}"),
        "group_id": kafka.group,
        "group_instance_id": member.group_instance_id,
        "partition_assignment_strategy": [CooperativeStickyAssignor],
        # A missing offset must never be reset in silence: see KafkaStream.poll.
        "auto_offset_reset": "none",
        "enable_auto_commit": False,
        # With this level the client also asks for stable offsets only, which exactly-once needs.
        "isolation_level": "read_committed",
        "allow_auto_create_topics": False,
        "session_timeout_ms": _milliseconds(delivery.session_timeout_s),
        "heartbeat_interval_ms": _milliseconds(min(3.0, delivery.session_timeout_s / 3)),
        "max_poll_interval_ms": _milliseconds(delivery.max_poll_interval_s),
        "fetch_max_wait_ms": 100,
        "request_timeout_ms": _milliseconds(delivery.session_timeout_s),
        "max_partition_fetch_bytes": MAX_FETCH_BYTES,
    }


def producer_options(
    kafka: KafkaPolicy, delivery: DeliveryPolicy, member: Member
) -> dict[str, Any]:
    options = {
        **common_options(kafka, f"clipstream-{member.group_instance_id}"),
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": None if kafka.compression == "none" else kafka.compression,
        "linger_ms": 5,
        # Half of the client's default. A producer's start and its first commit routinely wait once
        # or twice for a coordinator that is not ready.
        "retry_backoff_ms": 50,
        # At most the size of one record. The broker would refuse a larger batch of records that
        # would fit alone.
        "batch_size": min(MAX_BATCH_BYTES, kafka.max_input_bytes),
        "max_request_size": kafka.max_request_bytes,
        "allow_auto_create_topics": False,
        "request_timeout_ms": _milliseconds(delivery.request_timeout_s),
        "delivery_timeout_ms": _milliseconds(delivery.delivery_timeout_s),
        "max_block_ms": _milliseconds(delivery.delivery_timeout_s),
        "bootstrap_timeout_ms": _milliseconds(delivery.delivery_timeout_s),
    }
    if delivery.mode == "exactly_once":
        options |= {
            "transactional_id": member.transactional_id,
            "transaction_timeout_ms": _milliseconds(delivery.transaction_timeout_s),
        }
    return options
