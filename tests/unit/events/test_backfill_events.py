"""Events of a backfill's rows: the stream's, about a row in place of a record."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.parquet.outcomes import ResultsOfShard
from pipeline.backfill import layout
from pipeline.content import content_id
from pipeline.events import EventBuilder, EventContext, EventsPolicy
from pipeline.events.backfill import BackfilledRow, BackfillEvents
from pipeline.events.headers import HEADERS
from pipeline.events.schemas import schemas
from pipeline.events.types import EventType
from pipeline.records import Classification, Origin, OutputRecord, Partition, Position
from tests.rigs.backfill.written import WrittenJob, classified, mixed

ROW = BackfilledRow("9f0a", 7, 41, "ab" * 16)
ORIGIN = Origin(Position(Partition("images", 3), 1234), 0, -1)
CONTEXT = EventContext("cluster", "group", {"images": "id"}, "1")
JOB = WrittenJob(MemoryFolder(), 1, 21)
PLAN = JOB.rows(0)

BACKFILL_ONLY = {"ce_type", "ce_source", "ce_id", "ce_dataschema", "classification.id"}


def events() -> BackfillEvents:
    return BackfillEvents(EventsPolicy(), "1")


def headers_of(record: OutputRecord) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


def everything() -> list[OutputRecord]:
    letter = mixed(PLAN[4])
    assert letter is not None
    assert not isinstance(letter, Classification)
    return [
        *events().records(ROW, classified(PLAN[0])),
        *events().records(ROW, letter),
        events().shrink(ROW, letter),
    ]


def read_back() -> dict[int, tuple[Any, str]]:
    """What the files of a shard say of its rows."""
    job = WrittenJob(MemoryFolder(), 1, 21)
    job.commit([0])
    name = layout.data_file(0)
    data = job.folder.read(name)
    plan = job.folder.read(layout.plan_file("a1", 0))
    assert data is not None
    assert plan is not None
    results = ResultsOfShard(data.body, name)
    assert results.errors_file is not None
    errors = job.folder.read(results.errors_file)
    assert errors is not None
    stored = list(results.outcomes(plan.body, errors.body))
    assert [each.row for each in stored] == sorted(each.row for each in stored)
    later = list(results.outcomes(plan.body, errors.body, 9))
    assert [each.row for each in later] == [each.row for each in stored if each.row >= 9]
    return {each.row: (each.outcome, each.content_id) for each in stored}


def test_what_is_read_back_is_published_as_the_stream_publishes_the_outcome() -> None:
    stored = read_back()
    wanted = {row.number: outcome for row in PLAN if (outcome := mixed(row)) is not None}
    assert stored.keys() == wanted.keys()
    builder = EventBuilder(CONTEXT, EventsPolicy())
    for number, outcome in wanted.items():
        found, content = stored[number]
        row = BackfilledRow(JOB.job.id, 0, number, content)
        ours = events().records(row, found)
        theirs = builder.records(ORIGIN, outcome)
        assert [each.topic for each in ours] == [each.topic for each in theirs]
        for one, other in zip(ours, theirs, strict=True):
            own, streamed = headers_of(one), headers_of(other)
            for name in own.keys() & streamed.keys() - BACKFILL_ONLY:
                assert own[name] == streamed[name], name
            if own.get("content-type") == "application/json":
                assert without_place(one.value) == without_place(other.value)
            else:
                assert one.value == other.value


def without_place(value: bytes) -> list[tuple[str, Any]]:
    """The fields of a value in order, but for where it came from."""
    fields = json.loads(value).items()
    return [(name, field) for name, field in fields if name not in ("job", "position")]


def test_the_place_of_a_row_stands_where_the_stream_has_its_position() -> None:
    (classification, _) = events().records(ROW, classified(PLAN[0]))
    (streamed, _) = EventBuilder(CONTEXT, EventsPolicy()).records(ORIGIN, classified(PLAN[0]))
    value = json.loads(classification.value)
    assert value["job"] == {"id": "9f0a", "shard": 7, "row": 41}
    names = ["job" if name == "position" else name for name in json.loads(streamed.value)]
    assert list(value) == names
    assert headers_of(classification)["ce_source"] == "/clipstream/backfill/9f0a"
    assert value["content_id"] == ROW.content_id


def test_the_content_id_of_a_stored_row_is_the_streams() -> None:
    stored = read_back()
    outcome = classified(PLAN[0])
    assert stored[0][1] == content_id(
        outcome.looked, outcome.ref.uri, outcome.etag, outcome.version_id
    )


def test_events_are_as_their_schemas_say() -> None:
    documents = schemas()
    for record in everything():
        headers = headers_of(record)
        kind = EventType(headers["ce_type"])
        named, _, version = kind.removeprefix("clipstream.").rpartition(".")
        Draft202012Validator(documents[f"{named}-headers.{version}"]).validate(headers)
        assert headers.keys() <= {header.name for header in HEADERS[kind]}
        if headers.get("content-type") == "application/json":
            Draft202012Validator(documents[f"{named}.{version}"]).validate(json.loads(record.value))


def test_a_shrunk_letter_says_what_was_left_out() -> None:
    *_, full, shrunk = everything()
    assert shrunk.value == b""
    assert headers_of(shrunk)["dlq.full-bytes"] == str(full.size_bytes)
    assert headers_of(shrunk)["dlq.row"] == "41"


def test_embeddings_can_be_left_out() -> None:
    without = BackfillEvents(EventsPolicy(embeddings=False), "1")
    assert len(without.records(ROW, classified(PLAN[0]))) == 1


def test_a_row_that_is_published_again_repeats_its_events() -> None:
    assert everything() == everything()


@pytest.mark.parametrize(
    "other", [replace(ROW, job="0"), replace(ROW, shard=8), replace(ROW, row=42)]
)
def test_an_event_id_differs_with_each_part_of_its_name(other: BackfilledRow) -> None:
    kinds = [kind for kind in EventType if "backfill" in kind]
    assert len({row.event_id(kind) for row in (ROW, other) for kind in kinds}) == 6


def test_event_ids_never_change_between_releases() -> None:
    assert ROW.event_id(EventType.BACKFILL_CLASSIFICATION) == "5d72178d-15b3-57f7-b4eb-192b154213ad"
