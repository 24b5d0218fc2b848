"""The record of a label set keeps its published form, and published events are read back."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from deploy.dev.reference.label_set import example
from pipeline.errors import Halt
from pipeline.events.label_sets import label_set_record, read_label_set
from pipeline.events.published import (
    ClassificationEvent,
    EmbeddingEvent,
    as_text,
    contradictions,
)
from pipeline.events.schemas import schemas
from pipeline.events.values.label_sets import LABEL_SET_SCHEMA
from pipeline.labels.label_set import canonical_json, version_of
from pipeline.records import ModelIdentity, OutputRecord
from tests.golden import run

MODEL = ModelIdentity("clip", "abc", 4, 100.0, "fp32", "torch-cpu")


def headers_of(record: Any) -> dict[str, str]:
    return as_text(record.headers)


def test_a_label_set_is_recorded_as_its_schemas_say() -> None:
    record = example(MODEL)
    Draft202012Validator(schemas()[LABEL_SET_SCHEMA]).validate(json.loads(record.value))
    headers = headers_of(record)
    Draft202012Validator(schemas()["label-set-headers.v1"]).validate(headers)
    value = read_label_set(record.value, "here")
    assert record.key.decode() == value["version"] == version_of(canonical_json(value["meaning"]))
    assert headers["ce_time"] == value["first_seen"]


def test_the_same_version_is_the_same_event() -> None:
    value = read_label_set(example(MODEL).value, "here")
    first = label_set_record(value)
    value["first_seen"] = "2027-01-01T00:00:00.000Z"
    records = [first, label_set_record(value)]
    assert records[0].key == records[1].key
    ids = {headers_of(record)["ce_id"] for record in records}
    assert len(ids) == 1


@pytest.mark.parametrize("value", [b"", b"{", b"{}", b"[1]"])
def test_the_record_of_something_else_is_said_to_be_none(value: bytes) -> None:
    with pytest.raises(Halt, match=r"topic\[0\]@3: is no record of a label set"):
        read_label_set(value, "topic[0]@3")


def outcomes() -> list[tuple[OutputRecord, OutputRecord]]:
    """Classifications with their embeddings, as a worker published them."""
    records, _ = run.published()
    kinds = defaultdict[str, list[OutputRecord]](list)
    for record in records:
        kind = headers_of(record)["ce_type"].split(".")[1]
        kinds[kind].append(record)
    return list(zip(kinds["classification"], kinds["embedding"], strict=True))


@pytest.fixture(scope="module")
def events() -> list[tuple[ClassificationEvent, EmbeddingEvent]]:
    return [
        (
            ClassificationEvent.of(json.loads(one.value), headers_of(one)),
            EmbeddingEvent.of(two.value, headers_of(two)),
        )
        for one, two in outcomes()
    ]


def test_what_a_worker_publishes_contradicts_itself_nowhere(
    events: list[tuple[ClassificationEvent, EmbeddingEvent]],
) -> None:
    assert len(events) > 3
    for event, embedding in events:
        assert contradictions(event, embedding) == []
        assert event.expected_content_id == event.content_id


def test_the_embedding_of_another_event_is_told_by_its_headers(
    events: list[tuple[ClassificationEvent, EmbeddingEvent]],
) -> None:
    (first, _), (_, other), *_ = events
    found = contradictions(first, other)
    assert any("its classification.id is" in each for each in found)


def test_an_altered_model_shows_in_the_content_id(
    events: list[tuple[ClassificationEvent, EmbeddingEvent]],
) -> None:
    record, _ = outcomes()[0]
    value = json.loads(record.value)
    value["model"]["revision"] = "another"
    altered = ClassificationEvent.of(value, {})
    (found, *_) = contradictions(altered, replace(events[0][1], headers={}))
    assert "the event was altered" in found


@pytest.mark.parametrize("dtype", ["<f4", "<f2"])
def test_a_raw_embedding_is_told_by_its_size(dtype: str) -> None:
    vector = np.array([0.5, -0.5, 0.5, 0.5], dtype)
    read = EmbeddingEvent.of(vector.tobytes(), {}, 4)
    assert read.vector.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read.vector, vector)


def test_an_embedding_that_is_not_finite_is_refused() -> None:
    vector = np.array([0.5, np.nan, 0.5, 0.5], "<f4")
    with pytest.raises(Halt, match="not finite"):
        EmbeddingEvent.of(vector.tobytes(), {}, 4)


def test_an_embedding_of_another_size_is_refused() -> None:
    for value, headers, dimension in (
        (b"", {}, 4),
        (b"123", {}, 4),
        (b"1234" * 4, {"embedding.dtype": "float16", "embedding.dimension": "4"}, None),
        (b"1234" * 4, {"embedding.dimension": "x"}, None),
        (b"1234", {}, None),
    ):
        with pytest.raises(Halt, match="no embedding"):
            EmbeddingEvent.of(value, headers, dimension)
