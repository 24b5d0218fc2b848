"""The note beside a committed offset: what is read back, and what is no note."""

from __future__ import annotations

import re

import pytest
from kafka import OffsetAndMetadata

from pipeline.adapters.kafka.offsets import OffsetNote, progress_of
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
