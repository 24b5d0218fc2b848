"""docs/logs.md has the fields that a line of the log has, and the examples use no others."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any

import pytest
import yaml

from pipeline.errors import Retry
from pipeline.events.schemas import schemas
from pipeline.records import Partition, Position
from tests.rigs.root import ROOT
from workers.logs import REQUEST_ID, JsonFormatter

PAGE = (ROOT / "docs/logs.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "deploy/examples/logs/vector.yaml"

FIELDS = re.findall(r"^\| `(\w+)` \| (text|integer) \| ([^|]*) \|", PAGE, re.MULTILINE)
NAMES = [name for name, _, _ in FIELDS]
TYPES: dict[str, type] = {"text": str, "integer": int}


def line(message: str, *arguments: object, **how: Any) -> dict[str, Any]:
    made = logging.getLogger("test").makeRecord(
        "test",
        logging.INFO,
        __file__,
        7,
        message,
        arguments,
        how.get("exc_info"),
        extra=how.get("extra"),
    )
    loaded: dict[str, Any] = json.loads(JsonFormatter("worker-0").format(made))
    return loaded


@pytest.fixture
def everything() -> dict[str, Any]:
    """A line about a record, an error, a request and what was done, with a traceback."""
    token = REQUEST_ID.set("c10db429")
    try:
        int("broken")
    except ValueError:
        where, failure = Position(Partition("uploads", 3), 41), Retry("kafka.down", "gone", 1.0)
        audited = {"act": "replayed", "who": "ann@desk", "what": "2 letters"}
        return line("%s: %s", where, failure, exc_info=sys.exc_info(), extra=audited)
    finally:
        REQUEST_ID.reset(token)
    raise AssertionError("unreachable")


def test_a_line_that_has_every_field_has_those_of_the_page_in_their_order(
    everything: dict[str, Any],
) -> None:
    assert sorted(everything) == sorted(NAMES)


def test_fields_have_the_type_that_the_page_says(everything: dict[str, Any]) -> None:
    for name, type_, _ in FIELDS:
        assert type(everything[name]) is TYPES[type_], name


def test_the_fields_that_are_always_there_are_in_a_line_about_nothing() -> None:
    assert sorted(line("hello")) == sorted(name for name, _, there in FIELDS if there == "always")


def test_the_time_and_the_levels_are_written_as_the_page_says(everything: dict[str, Any]) -> None:
    shown = re.findall(r"`(\d{4}-\d\d-\d\dT[\d:.]+Z)`", PAGE)
    shape = re.sub(r"\d", "0", everything["time"])
    assert [re.sub(r"\d", "0", each) for each in shown] == [shape]
    (levels,) = re.findall(r"^\| `level` .*\| ([^|]*) \|$", PAGE, re.MULTILINE)
    names = {logging.getLevelName(level).lower() for level in (10, 20, 30, 40, 50)}
    assert set(re.findall(r"`(\w+)`", levels)) == names


def test_the_line_of_the_page_is_what_the_formatter_writes() -> None:
    (shown,) = re.findall(r"^```json\n(.*)\n```$", PAGE, re.MULTILINE)
    example = json.loads(shown)
    where = Position(Partition("uploads", 3), 41)
    made = line("%s: dead letter %s", where, "fetch.not_found")
    kept = {"message", "topic", "partition", "offset", "process", "level"}
    assert {name: example[name] for name in kept} == {name: made[name] for name in kept}
    assert list(example) == [name for name in NAMES if name in example]


def test_events_have_the_position_of_their_log_line_where_the_page_says() -> None:
    table = re.findall(r"^\| `(\w+)` \| (?:`([\w.]+)`)? ?\| `([\w.]+)` \|$", PAGE, re.MULTILINE)
    assert {name for name, _, _ in table} == {"topic", "partition", "offset", "code"}
    position = schemas()["classification.v1"]["$defs"]["PositionValue"]["properties"]
    headers = schemas()["dead-letter-headers.v1"]["properties"]
    for name, in_value, in_headers in table:
        assert in_headers in headers, name
        if in_value:
            assert in_value.removeprefix("position.") in position


def test_the_example_for_vector_uses_fields_and_headers_that_exist() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    headers = {
        name
        for part in ("dead-letter-headers.v1", "dead-letter-headers.v2")
        for name in schemas()[part]["properties"]
    }
    used = set(re.findall(r'headers\."([\w.]+)"', text))
    assert used
    assert used <= headers
    beside = config["sinks"]["loki"]["structured_metadata"]
    assert beside.keys() <= set(NAMES)
    assert {f"{{{{ {name} }}}}" for name in beside} == set(beside.values())
    # What joins a line and its event, and what the page's queries ask for.
    assert beside.keys() >= set(re.findall(r'\| (\w+)="', PAGE))
    inputs = {
        name
        for part in ("transforms", "sinks")
        for it in config[part].values()
        for name in it["inputs"]
    }
    assert inputs == {*config["sources"], *config["transforms"]}
