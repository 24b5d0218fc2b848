"""The note beside a committed offset: what is read back, and what is no note."""

from __future__ import annotations

import pytest

from pipeline.adapters.kafka.offsets import OffsetNote


def test_a_note_is_read_back() -> None:
    note = OffsetNote("b5f6a2f3-0e3f-4a8a-9f38-4d4a8d6c5a11", 12)
    assert OffsetNote.parse(str(note)) == note


def test_fields_that_a_later_release_adds_to_a_note_are_ignored() -> None:
    note = OffsetNote("b5f6a2f3-0e3f-4a8a-9f38-4d4a8d6c5a11", 12)
    assert OffsetNote.parse(f"{note} epoch=3 more=x") == note


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
