"""The generated pages, and what docs/events.md shows by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.dev.reference import pages as reference
from deploy.dev.reference.markdown import table
from pipeline.errors import CODES
from pipeline.events import EventBuilder, EventContext, EventsPolicy, event_id
from pipeline.events.backfill import BackfilledRow
from pipeline.events.headers import HEADERS
from pipeline.events.served import ServedImage
from pipeline.events.types import EventType
from pipeline.halts import HALTS
from pipeline.metrics import (
    BACKFILL_JOB_METRICS,
    BACKFILL_METRICS,
    DRIVER_METRICS,
    FLEET_METRICS,
    HTTP_METRICS,
    STREAM_WORKER,
)
from pipeline.records import Origin, Partition, Position, Removal, Skipped

EVENTS = (reference.ROOT / "docs/events.md").read_text(encoding="utf-8")


def test_the_committed_pages_are_as_the_code_has_them() -> None:
    assert list(reference.differing(reference.ROOT)) == [], "run `python -m deploy.dev.reference`"


def test_pages_are_written_once_and_then_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err.count("differs from the code") == len(reference.pages())
    assert reference.main([], tmp_path) == 0
    assert capsys.readouterr().out.count("written: ") == len(reference.pages())
    assert reference.main(["--check"], tmp_path) == 0
    assert reference.write(tmp_path) == []


def test_a_page_edited_by_hand_is_named_and_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference.write(tmp_path)
    page = tmp_path / "docs/reference/codes.md"
    page.write_text(page.read_text(encoding="utf-8") + "mine\n", encoding="utf-8")
    capsys.readouterr()
    assert reference.main(["--check"], tmp_path) == 1
    assert "docs/reference/codes.md: differs" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8").endswith("mine\n")
    assert reference.write(tmp_path) == ["docs/reference/codes.md"]


def test_every_code_and_every_metric_has_its_row() -> None:
    codes, metrics = reference.codes(), reference.metrics()
    assert sorted(re.findall(r"^\| `([a-z0-9_.]+)` \|", codes, re.MULTILINE)) == sorted(
        [*CODES, *HALTS]
    )
    every = [
        *STREAM_WORKER,
        *DRIVER_METRICS,
        *FLEET_METRICS,
        *HTTP_METRICS,
        *BACKFILL_METRICS,
        *BACKFILL_JOB_METRICS,
    ]
    assert re.findall(r"^\| `(\w+)` \|", metrics, re.MULTILINE) == [each.name for each in every]
    assert all(metric.remedy in metrics and metric.help in metrics for metric in every)


def test_whose_fault_a_halt_can_be_is_a_column() -> None:
    codes = reference.codes()
    assert "| `kafka.fenced` | the stream |" in codes
    assert "| `s3.no_credentials` | one place |" in codes
    assert "| `replay.invalid` | the command |" in codes


def test_cells_cannot_break_their_table() -> None:
    assert table(("a",), [("x | y\nz",)]) == "| a |\n| --- |\n| x \\| y z |\n"


def test_the_event_page_has_every_header_and_valid_examples() -> None:
    page = reference.pages()["docs/reference/events.md"]()
    for headers in HEADERS.values():
        assert all(f"| `{header.name}` |" in page for header in headers)
    examples = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert [re.findall("^ce_type: (.*)$", each, re.MULTILINE) for each in examples] == [
        [EventType.CLASSIFICATION],
        [EventType.EMBEDDING],
        *[[EventType.DEAD_LETTER]] * 3,
        [EventType.CLASSIFICATION_V2],
        [EventType.EMBEDDING_V2],
        [EventType.DEAD_LETTER_V2],
        *[[EventType.ACTION]] * 2,
        [EventType.REMOVAL],
        [EventType.REVIEW],
        [EventType.SERVED_IMAGE],
        [EventType.SERVED_EMBEDDING],
        [EventType.SERVED_ERROR],
        [EventType.BACKFILL_CLASSIFICATION],
        [EventType.BACKFILL_EMBEDDING],
        [EventType.BACKFILL_DEAD_LETTER],
        [EventType.LABEL_SET],
    ]


def test_the_links_of_the_events_page_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", EVENTS)
    missing = [each for each in targets if not (reference.ROOT / "docs" / each).exists()]
    assert missing == []


def _snippet(name: str) -> Any:
    """A function that docs/events.md shows, as a reader would paste it."""
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", EVENTS, re.DOTALL)
        if f"def {name}(" in block
    ]
    names: dict[str, Any] = {}
    exec(code, names)
    return names[name]


def test_the_documented_event_id_of_a_row_is_the_real_one() -> None:
    documented = _snippet("backfill_event_id")("job", 3, 41, EventType.BACKFILL_EMBEDDING)
    assert BackfilledRow("job", 3, 41).event_id(EventType.BACKFILL_EMBEDDING) == documented


@pytest.mark.parametrize("group", ["group", 'odd "é" \n group'])
def test_the_documented_event_id_is_the_real_one(group: str) -> None:
    context = EventContext("cluster", group, {"images": "topic-uuid"}, "1.0")
    documented = _snippet("event_id")("cluster", group, "topic-uuid", 3, 12, 1, EventType.EMBEDDING)
    origin = Origin(Position(Partition("images", 3), 12), 1, 0)
    assert documented == event_id(context, origin, EventType.EMBEDDING)


def test_the_documented_event_id_of_a_served_image_is_the_real_one() -> None:
    image = ServedImage("request 1", "a key", "/v1/classify", 3, "s3://photos/ä.jpg", None)
    documented = _snippet("served_event_id")(
        "a key", "request 1", "/v1/classify", 3, "s3://photos/ä.jpg", EventType.SERVED_IMAGE
    )
    assert documented == image.event_id(EventType.SERVED_IMAGE)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_documented_way_decodes_an_embedding(dtype: str) -> None:
    vector = np.array([0.5, -0.25, 0.125], dtype=np.dtype(dtype).newbyteorder("<"))
    headers = {"embedding.dtype": dtype.encode(), "embedding.dimension": b"3"}
    decoded = _snippet("embedding")(vector.tobytes(), headers)
    assert decoded.tolist() == [0.5, -0.25, 0.125]


def test_the_documented_way_derives_the_scores_of_the_example() -> None:
    page = reference.pages()["docs/reference/events.md"]()
    body = re.search(r"^\{$.*?^\}$", page, re.DOTALL | re.MULTILINE)
    assert body is not None
    event = json.loads(body[0])
    (result,) = event["results"]
    derived = _snippet("exclusive_scores")(event, result)
    assert derived == pytest.approx([score["score"] for score in result["scores"]], abs=1e-6)


@pytest.mark.parametrize(
    ("version_id", "dropped"),
    [(None, ["v1", "v2", None]), ("v1", ["v1"]), ("null", [None]), ("marker", [])],
)
def test_the_documented_index_drops_what_was_removed(
    version_id: str | None, dropped: list[str | None]
) -> None:
    removal = Removal("photos", "cat.jpg", "ObjectRemoved:Delete", version_id)
    builder = EventBuilder(EventContext("c", "g", {"images": "id"}, "1"), EventsPolicy())
    origin = Origin(Position(Partition("images", 0), 0), 0, 0)
    (record,) = builder.records(origin, Skipped("deleted", removal))
    of_cat: list[dict[str, str]] = [
        {"object.uri": "s3://photos/cat.jpg", "object.version-id": "v1"},
        {"object.uri": "s3://photos/cat.jpg", "object.version-id": "v2"},
        {"object.uri": "s3://photos/cat.jpg"},
    ]
    of_dog = [each | {"object.uri": "s3://photos/dog.jpg"} for each in of_cat]
    found = _snippet("vectors_to_drop")(record.value, [*of_dog, *of_cat])
    assert [each.get("object.version-id") for each in found] == dropped
