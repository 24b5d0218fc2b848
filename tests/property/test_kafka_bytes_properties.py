"""Records as bytes: every record that can be written is read, and none is larger than reckoned."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from pipeline.adapters.kafka.reading import Batches
from pipeline.adapters.kafka.sink import record_bytes_at_most
from pipeline.records import OutputRecord, OutputTopic

MAGIC = 2
NO_COMPRESSION = 0
GZIP = 1


class RawName(str):
    """A header name that is these bytes on the wire."""

    raw: bytes

    def __new__(cls, raw: bytes) -> RawName:
        made = super().__new__(cls, raw.decode("latin-1"))
        made.raw = raw
        return made

    def encode(self, *_: object) -> bytes:
        return self.raw


raw_headers = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=5)
raw_records = st.lists(
    st.tuples(st.none() | st.binary(max_size=20), st.none() | st.binary(max_size=200), raw_headers),
    min_size=1,
    max_size=10,
)


@given(raw_records, st.sampled_from([NO_COMPRESSION, GZIP]))
def test_every_record_is_read_whatever_its_header_names(
    records: list[tuple[bytes | None, bytes | None, list[tuple[bytes, bytes]]]], codec: int
) -> None:
    builder = MemoryRecordsBuilder(MAGIC, codec, 1 << 20)
    for index, (key, value, headers) in enumerate(records):
        builder.append(index, key, value, [(RawName(name), each) for name, each in headers])
    builder.close()
    batch = Batches(MemoryRecords(bytes(builder.buffer())), 0).next_batch()
    read = [(record.key, record.value, record.headers) for record in batch]
    assert read == [
        (key, value, [(name.decode("utf-8", "backslashreplace"), each) for name, each in headers])
        for key, value, headers in records
    ]


output_records = st.builds(
    OutputRecord,
    st.just(OutputTopic.DEAD_LETTERS),
    st.none() | st.binary(max_size=2000),
    st.binary(max_size=5000),
    st.lists(st.tuples(st.text(max_size=300), st.binary(max_size=300)), max_size=30).map(tuple),
)


@given(output_records)
def test_a_record_alone_in_its_batch_is_no_larger_than_reckoned(record: OutputRecord) -> None:
    builder = MemoryRecordsBuilder(
        MAGIC,
        NO_COMPRESSION,
        1 << 20,
        transactional=True,
        producer_id=1,
        producer_epoch=0,
        base_sequence=0,
    )
    builder.append(2**62, record.key, record.value, list(record.headers))
    builder.close()
    reckoned = record_bytes_at_most(record)
    assert len(builder.buffer()) <= reckoned
    # Nor does the client itself take it for larger, and refuse it.
    estimate = DefaultRecordBatchBuilder.estimate_size_in_bytes(
        record.key, record.value, list(record.headers)
    )
    assert estimate <= reckoned
