"""The topics of ``clipstream backfill publish``: what they are, whether they are there, and how
they are created."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.doctor import sound_topics
from pipeline.adapters.kafka.failures import administrating
from pipeline.adapters.kafka.policy import KafkaPolicy, TopicNames
from pipeline.backfill.marks import LANES
from pipeline.backfill.policy import BackfillTopics
from pipeline.errors import Halt
from pipeline.ports import Check, CheckResult

_CREATE = "clipstream doctor --backfill-topics --create-topics"


def publishing_to(kafka: KafkaPolicy, topics: BackfillTopics) -> KafkaPolicy:
    """The settings with the topics of backfills in place of the stream's."""
    outputs = TopicNames(
        classifications=topics.classifications,
        embeddings=topics.embeddings,
        dead_letters=topics.dead_letters,
        label_sets=None,
    )
    return kafka.model_copy(update={"input_topics": (), "output_topics": outputs})


def require_topics(admin: KafkaAdmin, topics: BackfillTopics) -> str:
    """Check that a job can be published. Returns the cluster's id.

    Raises:
        Halt: ``kafka.topic_missing``.
        Retry: the brokers do not answer.
    """
    names = [name for _, name in topics]
    missing = set(names) - admin.topics(names).keys()
    if missing:
        raise Halt(
            "kafka.topic_missing",
            f"kafka: no topic {', '.join(sorted(missing))}, or no right to describe it; run "
            f"{_CREATE}, or grant Describe",
        )
    for check in check_marks(admin, topics):
        if check.result is CheckResult.FAILED:
            raise Halt("kafka.topic_missing", f"kafka: {check.subject}: {check.message}")
    with administrating("describing the cluster"):
        return str(admin.client.describe_cluster()["cluster_id"])


def check_marks(admin: KafkaAdmin, topics: BackfillTopics) -> Iterator[Check]:
    """Whether the topic of marks has a partition for each lane."""
    subject = f"topic {topics.marks}"
    found = admin.topics([topics.marks]).get(topics.marks)
    if found is None:
        yield Check(
            subject,
            CheckResult.FAILED,
            "does not exist, or may not be described; create it (--create-topics)",
        )
        return
    partitions = len(found["partitions"])
    enough = partitions >= LANES
    yield Check(
        subject,
        CheckResult.PASSED if enough else CheckResult.FAILED,
        f"{partitions} partitions" + ("" if enough else f", and {LANES} are needed; add some"),
    )


def sound_backfill_topics(kafka: KafkaPolicy, topics: BackfillTopics) -> dict[str, dict[str, str]]:
    """Settings of the topics with events, as ``sound_topics`` has those of the stream."""
    return sound_topics(publishing_to(kafka, topics))


def create_marks(admin: KafkaAdmin, topics: BackfillTopics, replication: int) -> tuple[str, ...]:
    """Create the topic of marks, if it is not there. Returns the names of created topics."""
    settings = {"unclean.leader.election.enable": "false"}
    return admin.create_topics({topics.marks: settings}, LANES, replication)
