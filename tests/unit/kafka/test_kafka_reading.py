"""Records as they are read: their headers, and where a batch and a fetch end."""

from __future__ import annotations

import kafka.errors as kafka_errors
import pytest
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from pipeline.adapters.kafka.reading import Batches

MAGIC = 2


class RawName(str):
    """A header name that is no UTF-8 on the wire."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff" + str.encode(self)


def batch_of(*headers: list[tuple[str, bytes]]) -> bytes:
    """One batch, a record for each list of headers."""
    builder = MemoryRecordsBuilder(MAGIC, 0, 1 << 20)
    for index, each in enumerate(headers):
        builder.append(index, b"key", b"%d" % index, each)
    builder.close()
    return bytes(builder.buffer())


def test_header_names_that_are_not_text_are_escaped() -> None:
    raw = batch_of([("plain", b"0")], [(RawName("x"), b"1"), ("ü", b"2"), (RawName(""), b"")], [])
    batch = Batches(MemoryRecords(raw), 0).next_batch()
    assert batch.validate_crc()
    assert [(record.offset, record.value, record.headers) for record in batch] == [
        (0, b"0", [("plain", b"0")]),
        (1, b"1", [("\\xffx", b"1"), ("ü", b"2"), ("\\xff", b"")]),
        (2, b"2", []),
    ]


def test_a_header_name_longer_than_its_batch_is_an_error_and_no_endless_read() -> None:
    raw = bytearray(batch_of([(RawName("name"), b"v")]))
    # The length of the name, a zigzag number, stands before its first byte.
    at = raw.index(b"\xffname") - 1
    assert raw[at] == 2 * len(b"\xffname")
    raw[at] = 126
    batch = Batches(MemoryRecords(bytes(raw)), 0).next_batch()
    with pytest.raises(kafka_errors.CorruptRecordError):
        list(batch)


def test_batches_end_where_the_fetch_does() -> None:
    batches = Batches(MemoryRecords(batch_of([]) + batch_of([])), 7)
    assert batches.next_batch() is not None
    assert batches.offset == 0
    assert batches.next_batch() is not None
    assert batches.next_batch() is None
