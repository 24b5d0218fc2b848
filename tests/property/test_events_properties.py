"""Whatever an outcome holds, its records are valid, repeatable and complete."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from uuid import uuid5

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pipeline.events import EventBuilder, EventContext, EventsPolicy, event_id
from pipeline.events.builder import MAX_SHRUNK_FIELD_BYTES
from pipeline.events.envelope import EVENT_NAMESPACE
from pipeline.events.schemas import schemas
from pipeline.events.types import EventType
from pipeline.records import (
    Asked,
    Classification,
    DeadLetter,
    ImageFacts,
    ImageRef,
    LabelScore,
    LabelSetResult,
    Looked,
    ModelIdentity,
    Origin,
    Outcome,
    OutputRecord,
    Partition,
    Position,
    Record,
)
from pipeline.references import ReferencesPolicy, parse
from pipeline.routes import Router

FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
VALIDATORS = {name: Draft202012Validator(schema) for name, schema in schemas().items()}

# Lone surrogates and control characters included.
any_text = st.text(st.characters(), max_size=40)
clean_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=40)
name = clean_text.filter(bool)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)
partitions = st.builds(Partition, st.just("images"), st.integers(0, 2**31 - 1))
positions = st.builds(Position, partitions, st.integers(0, 2**63 - 1))
origins = st.builds(
    Origin,
    positions,
    st.integers(0, 10**6),
    st.integers(-(2**63), 2**63 - 1),
    st.none() | st.binary(max_size=8),
    st.none() | any_text,
)
references = st.builds(
    ImageRef,
    bucket=any_text,
    key=any_text,
    label_sets=st.lists(any_text, min_size=1, max_size=3).map(tuple),
    version_id=st.none() | any_text,
    etag=st.none() | any_text,
    id=st.none() | any_text,
    tenant=st.none() | any_text,
    metadata=st.dictionaries(any_text, json_values, max_size=3),
)
shares = st.floats(0, 1)
vectors = st.lists(st.floats(-1, 1, width=16), min_size=1, max_size=8)
looks = st.builds(
    Looked,
    embedding=vectors.map(lambda row: np.array(row, dtype=np.float32)),
    model=st.builds(
        ModelIdentity, any_text, any_text, st.integers(1, 8), st.floats(0, 100), any_text, any_text
    ),
    image=st.builds(
        ImageFacts,
        any_text,
        st.integers(1, 60_000),
        st.integers(1, 60_000),
        st.integers(1, 100),
        shares,
    ),
    sha256=st.just("0f" * 32),
    size_bytes=st.integers(0, 2**40),
    decode_mode=any_text,
    decode_crop=any_text,
)
classifications = st.builds(
    Classification,
    ref=references,
    looked=looks,
    results=st.lists(
        st.builds(
            LabelSetResult,
            any_text,
            any_text,
            st.lists(st.builds(LabelScore, any_text, shares, st.floats(-1, 1))).map(tuple),
            st.lists(any_text, max_size=2).map(tuple),
            any_text,
        ),
        max_size=2,
    ).map(tuple),
    etag=st.none() | any_text,
    version_id=st.none() | any_text,
)
records = st.builds(
    Record,
    positions,
    st.integers(),
    st.none() | st.binary(max_size=8),
    st.none() | st.binary(max_size=40),
    st.lists(st.tuples(clean_text, st.none() | st.binary(max_size=8)), max_size=6).map(tuple),
)
dead_letters = st.builds(
    DeadLetter,
    any_text,
    st.text(st.characters(), max_size=3000),
    st.integers(0, 99),
    st.none() | references,
    any_text,
    st.none() | any_text,
)
payloads = st.none() | records


def builder(**changes: Any) -> EventBuilder:
    values: dict[str, Any] = {
        "cluster_id": "cluster",
        "group": "group",
        "topic_ids": {"images": "topic-uuid"},
        "version": "1.2.3",
    }
    return EventBuilder(EventContext(**values | changes), EventsPolicy())


def check(record: OutputRecord) -> dict[str, str]:
    """Headers are CloudEvents text and of the published form; so is a JSON value."""
    pairs = [(name, value) for name, value in record.headers if not name.startswith("original.")]
    headers = {name: value.decode() for name, value in pairs}
    assert len(headers) == len(pairs)
    assert not any(FORBIDDEN.search(value) for value in headers.values())
    kind, _, version = headers["ce_type"].removeprefix("clipstream.").rpartition(".")
    VALIDATORS[f"{kind}-headers.{version}"].validate(headers)
    if headers.get("content-type") == "application/json":
        VALIDATORS[f"{kind}.{version}"].validate(json.loads(record.value.decode()))
    return headers


@given(origins, classifications | dead_letters, payloads)
def test_every_outcome_becomes_valid_events(
    origin: Origin, outcome: Outcome, record: Record | None
) -> None:
    for published in builder().records(origin, outcome, record):
        check(published)


@given(origins, classifications | dead_letters, payloads)
def test_the_same_outcome_is_the_same_bytes(
    origin: Origin, outcome: Outcome, record: Record | None
) -> None:
    first, again = (builder().records(origin, outcome, record) for _ in range(2))
    assert first == again


@given(origins, classifications)
def test_a_classification_reads_back_as_it_was(origin: Origin, outcome: Classification) -> None:
    classification, embedding = builder().records(origin, outcome)
    value = json.loads(classification.value)
    ref = outcome.ref
    assert (value["reference"]["bucket"], value["reference"]["key"]) == (ref.bucket, ref.key)
    assert value["reference"]["metadata"] == ref.metadata
    assert [
        [(score["label"], score["score"], score["similarity"]) for score in result["scores"]]
        for result in value["results"]
    ] == [
        [(score.label, score.score, score.similarity) for score in result.scores]
        for result in outcome.results
    ]
    assert np.frombuffer(embedding.value, "<f4").tolist() == outcome.looked.embedding.tolist()


@given(origins, dead_letters, records)
def test_a_record_can_be_restored_from_its_dead_letter(
    origin: Origin, letter: DeadLetter, record: Record
) -> None:
    (published,) = builder().records(origin, letter, record)
    headers = check(published)
    assert headers["dlq.payload"] == ("record" if letter.ref is None else "reference")
    if letter.ref is not None:
        return
    nulls = set(json.loads(headers.get("dlq.null-headers", "[]")))
    originals = [
        (name.removeprefix("original."), value)
        for name, value in published.headers
        if name.startswith("original.")
    ]
    restored = tuple(
        (name, None if place in nulls else value) for place, (name, value) in enumerate(originals)
    )
    value = None if "dlq.null-value" in headers else published.value
    assert (published.key, value, restored) == (record.key, record.value, record.headers)


@given(origins, dead_letters, payloads)
def test_a_shrunk_dead_letter_is_small_and_shrinks_no_further(
    origin: Origin, letter: DeadLetter, record: Record | None
) -> None:
    (shrunk,) = builder().shrink(origin, letter, record)
    assert check(shrunk)["dlq.payload"] == "omitted"
    assert shrunk.value == b""
    assert shrunk.size_bytes < 3 * MAX_SHRUNK_FIELD_BYTES
    assert builder().shrink(origin, letter, record) == (shrunk,)


@given(
    origins,
    st.builds(
        ImageRef,
        bucket=st.from_regex(r"[a-z0-9]{3,20}", fullmatch=True),
        key=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40),
        label_sets=st.lists(name, min_size=1, max_size=3, unique=True).map(tuple),
        id=st.none() | name,
        tenant=st.none() | name.filter(lambda text: len(text.encode()) <= 128),
        metadata=st.dictionaries(
            clean_text,
            st.integers(0, 9) | clean_text | st.lists(clean_text, max_size=2),
            max_size=3,
        ),
    ),
)
def test_a_replayed_dead_letter_is_the_same_reference(origin: Origin, ref: ImageRef) -> None:
    letter = DeadLetter("fetch.timeout", "late", 1, ref=ref)
    (published,) = builder().records(origin, letter)
    position = Position(Partition("images", 0), 0)
    replayed = Record(position, 7, published.key, published.value)
    (again,) = parse(replayed, ReferencesPolicy(), Router([], ref.label_sets))
    assert again.origin == Origin(position, 0, 7, published.key)
    assert again.content == replace(ref, asked=Asked(ref.label_sets, ref.tenant))


names = st.tuples(
    st.text(max_size=4),
    st.text(max_size=4),
    st.text(max_size=4),
    st.integers(0, 3),
    st.integers(0, 30),
    st.integers(0, 3),
    st.sampled_from(EventType),
)


@given(names, names)
def test_event_ids_are_equal_only_for_equal_names(
    left: tuple[Any, ...], right: tuple[Any, ...]
) -> None:
    ids = []
    for cluster, group, topic_id, partition, offset, index, kind in (left, right):
        context = EventContext(cluster, group, {"images": topic_id}, "1")
        origin = Origin(Position(Partition("images", partition), offset), index, 0)
        ids.append(event_id(context, origin, kind))
    assert (ids[0] == ids[1]) == (left == right)


@given(names)
def test_an_event_id_is_the_uuid_of_its_name_as_json(parts: tuple[Any, ...]) -> None:
    cluster, group, topic_id, partition, offset, index, kind = parts
    context = EventContext(cluster, group, {"images": topic_id}, "1")
    origin = Origin(Position(Partition("images", partition), offset), index, 0)
    name_as_json = json.dumps(parts, separators=(",", ":"))
    assert event_id(context, origin, kind) == str(uuid5(EVENT_NAMESPACE, name_as_json))
