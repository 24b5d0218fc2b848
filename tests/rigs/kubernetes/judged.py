"""The judge of the fault tests, over what a stream in pods has published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kafka import TopicPartition

from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.offsets import progress_of
from pipeline.adapters.kafka.outcomes import PublishedOutcome, input_keys
from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.events.envelope import EventContext, event_id
from pipeline.events.types import EventType
from pipeline.records import Origin, OutputRecord, OutputTopic, Partition, Position
from tests.rigs.judge import Verdict, judge

DUE = (
    (OutputTopic.CLASSIFICATIONS, EventType.CLASSIFICATION),
    (OutputTopic.EMBEDDINGS, EventType.EMBEDDING),
)
"""What each reference brings, if its image can be classified."""


def verdict_of(kafka: KafkaPolicy, visible: Sequence[PublishedOutcome]) -> Verdict:
    """Compare all that is visible with what the references of the input topic bring. Each of them
    must be committed.

    The events that are due follow from the references' places. Their values come from a model in a
    pod and are not known here: of these the judge sees only that a repetition is equal.
    """
    (topic,) = kafka.input_topics
    seen: dict[bytes, PublishedOutcome] = {}
    for outcome in visible:
        seen.setdefault(outcome.headers["ce_id"], outcome)
    with KafkaAdmin(kafka) as admin:
        facts = admin.facts()
        partitions = len(admin.topics([topic])[topic]["partitions"])
        inputs = [TopicPartition(topic, number) for number in range(partitions)]
        offsets = admin.client.list_group_offsets({kafka.group: inputs})[kafka.group]
    context = EventContext(facts.cluster_id, kafka.group, facts.topic_ids, "")
    expected = {}
    for partition, offset, key in input_keys(kafka):
        origin = Origin(Position(Partition(topic, partition), offset), 0, 0, key)
        expected[partition, offset, 0] = tuple(
            _record(role, key, event_id(context, origin, kind).encode(), seen) for role, kind in DUE
        )
    committed = {tp.partition: progress_of(offsets[tp]) for tp in inputs}
    verdict = judge(expected, visible, committed)
    verdict.stuck += [
        f"{partition}@{offset} is not committed"
        for partition, offset, _ in expected
        if offset not in committed[partition]
    ]
    return verdict


def _record(
    role: OutputTopic, key: bytes, own_id: bytes, seen: Mapping[bytes, PublishedOutcome]
) -> OutputRecord:
    found = seen.get(own_id)
    if found is None:
        return OutputRecord(role, key, b"", (("ce_id", own_id),))
    return OutputRecord(role, key, found.value, tuple(found.headers.items()))
