"""The note beside a committed offset: what is read back, and what is no note."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaTimeoutError

from pipeline.adapters.kafka.offsets import GroupOffsets, OffsetNote, progress_of
from pipeline.records.progress import Progress

TOPIC_ID = "b5f6a2f3-0e3f-4a8a-9f38-4d4a8d6c5a11"


def test_a_note_is_read_back() -> None:
    note = OffsetNote(TOPIC_ID, 12)
    assert OffsetNote.parse(str(note)) == note


def test_fields_that_a_later_release_adds_to_a_note_are_ignored() -> None:
    note = OffsetNote(TOPIC_ID, 12)
    assert OffsetNote.parse(f"{note} epoch=3 more=x") == note


def test_what_is_done_beyond_an_offset_stands_in_its_note() -> None:
    progress = Progress(100, (range(101, 103), range(110, 111)))
    note = OffsetNote(TOPIC_ID, 12, progress.runs)
    assert str(note).endswith(" ahead=1.2.7.1")
    assert OffsetNote.parse(str(note)) == note
    assert OffsetNote.parse(f"{note} more=x") == note
    assert progress_of(OffsetAndMetadata(100, str(note), -1)) == progress


def test_a_release_without_orders_takes_a_note_with_more_for_that_of_another_topic() -> None:
    """It halts there, and does not publish these outcomes again."""
    without_orders = re.compile(r"clipstream/1 topic=(\S+) initial=(\d{1,9})(?: \w+=\S+)*")
    plain, ahead = OffsetNote(TOPIC_ID, 12), OffsetNote(TOPIC_ID, 12, (1, 1))
    found = without_orders.fullmatch(str(plain)), without_orders.fullmatch(str(ahead))
    assert [each and each[1] for each in found] == [TOPIC_ID, f"delivery.order:{TOPIC_ID}"]


@pytest.mark.parametrize("ahead", ["", " ahead=1", " ahead=0.1", " ahead=1.2.3", " ahead=x"])
def test_a_note_that_says_more_than_is_understood_is_of_another_topic(ahead: str) -> None:
    note = OffsetNote.parse(f"clipstream/1 topic=delivery.order:{TOPIC_ID} initial=1{ahead}")
    assert note is not None
    assert note.topic_id != TOPIC_ID


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        "clipstream",
        "clipstream/1",
        "clipstream/1 topic=x",
        "clipstream/1 topic=x initial=",
        "clipstream/1 topic=x initial=many",
        "clipstream/1 topic=x initial=1 more",
        "clipstream/2 topic=x initial=1",
        "another topic=x initial=1",
    ],
)
def test_what_others_wrote_is_no_note(metadata: str) -> None:
    assert OffsetNote.parse(metadata) is None


@pytest.mark.parametrize(
    ("node", "unanswered", "why"),
    [
        (None, False, "the group's coordinator is not known"),
        (3, True, "broker 3, the group's coordinator, has not answered in 10 s"),
        (3, False, "broker 3, the group's coordinator, has given no usable answer in 10 s"),
    ],
)
def test_offsets_that_are_not_told_in_time_say_whom_to_look_at(
    node: int | None, unanswered: bool, why: str
) -> None:
    questions: dict[Any, object] = {}

    def fetch(partitions: list[TopicPartition], timeout_ms: int) -> None:
        assert timeout_ms == 10_000
        if unanswered:
            questions[frozenset(partitions)] = object()
        raise KafkaTimeoutError

    coordinator = SimpleNamespace(
        coordinator=lambda: node, fetch_committed_offsets=fetch, _offset_fetch_futures=questions
    )
    consumer = SimpleNamespace(
        _coordinator=coordinator, assignment=lambda: {TopicPartition("uploads", 0)}
    )
    offsets = GroupOffsets(cast(KafkaConsumer, consumer), "live", {"uploads": TOPIC_ID})
    with pytest.raises(KafkaTimeoutError, match=why):
        offsets.committed()
