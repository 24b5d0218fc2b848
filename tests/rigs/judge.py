"""What a downstream consumer may see: one outcome for each reference, as without faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.adapters.kafka.outcomes import PublishedOutcome
from pipeline.commit.order import Order
from pipeline.records import OutputRecord, OutputTopic
from pipeline.records.progress import Progress
from tests.rigs.stages.pipeline_of_fakes import Place


@dataclass
class Verdict:
    """What went wrong: inputs by partition, offset and index, and the role of their outcome."""

    inputs: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not (self.lost or self.duplicated or self.mismatched or self.stuck)


def judge(
    expected: Mapping[Place, tuple[OutputRecord, ...]],
    visible: Sequence[PublishedOutcome],
    committed: Mapping[int, Progress],
    order: Order = "key",
) -> Verdict:
    """Compare what a read_committed consumer sees with what a run without faults publishes.

    ``committed`` is the group's progress by partition: what it does not say to be done is still to
    come, and must not be visible. Records are told apart by their event ids, which a run with
    faults repeats.
    """
    wanted = {
        dict(record.headers)["ce_id"]: (place, record)
        for place, records in expected.items()
        for record in records
    }
    seen = Counter(outcome.headers["ce_id"] for outcome in visible)
    verdict = Verdict(inputs=len(expected))
    for event_id, (place, record) in wanted.items():
        if place[1] in committed[place[0]] and not seen[event_id]:
            verdict.lost.append(_name(place, record.topic))
        if seen[event_id] > 1:
            verdict.duplicated.append(_name(place, record.topic))
    for outcome in visible:
        if outcome.headers["ce_id"] not in wanted:
            verdict.mismatched.append(f"no such {outcome.topic} is due: {outcome.headers}")
            continue
        place, record = wanted[outcome.headers["ce_id"]]
        if not _equal(record, outcome) or place[1] not in committed[place[0]]:
            verdict.mismatched.append(_name(place, record.topic))
    if order != "none":
        places = {event_id: place for event_id, (place, _) in wanted.items()}
        verdict.mismatched.extend(_overtaken(places, visible, by_key=order == "key"))
    return verdict


def _name(place: Place, topic: OutputTopic) -> str:
    partition, offset, index = place
    return f"{topic} of {partition}@{offset}.{index}"


def _equal(record: OutputRecord, found: PublishedOutcome) -> bool:
    headers = {name: value or b"" for name, value in record.headers}
    return (record.key, record.value or b"", headers) == (found.key, found.value, found.headers)


def _overtaken(
    places: Mapping[bytes, Place], visible: Sequence[PublishedOutcome], *, by_key: bool
) -> list[str]:
    """Outcomes that stand behind one of a later reference of the partition; ``by_key``: with the
    same key."""
    latest: dict[tuple[OutputTopic, int, bytes | None, int], Place] = {}
    late = []
    for outcome in sorted(visible, key=lambda each: (each.topic, each.partition, each.offset)):
        place = places.get(outcome.headers["ce_id"])
        if place is None:
            continue
        key = outcome.key if by_key else None
        line = (outcome.topic, outcome.partition, key, place[0])
        if place < latest.get(line, place):
            late.append(f"{_name(place, outcome.topic)} was overtaken")
        latest[line] = max(place, latest.get(line, place))
    return late
