"""Logs: JSON lines with positions as fields, text for terminals, floods held back."""

from __future__ import annotations

import errno
import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.errors import Halt, Retry
from pipeline.records import Partition, Position
from workers.logs import (
    FLOOD_INTERVAL_S,
    REQUEST_ID,
    JsonFormatter,
    LogPolicy,
    RateLimit,
    configure_logging,
)

POSITION = Position(Partition("images", 3), 41)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {}
    for name in (None, "kafka", "botocore", "boto3", "urllib3", "httpx", "transformers"):
        levels[name] = logging.getLogger(name).level
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def configured(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None = None, **policy: Any
) -> io.StringIO:
    """Configures logging; returns what is written to standard error."""
    stream = stream or io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging(LogPolicy(**policy), "worker-0")
    return stream


def record(message: str, *arguments: object, **fields: object) -> logging.LogRecord:
    """A record as ``log.warning(message, *arguments, extra=fields)`` makes it."""
    return logging.getLogger("test").makeRecord(
        "test", logging.WARNING, __file__, 7, message, arguments, None, extra=fields or None
    )


def line(of: logging.LogRecord) -> dict[str, Any]:
    text = JsonFormatter("worker-0").format(of)
    assert "\n" not in text
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def test_a_line_is_one_json_object() -> None:
    of = record("two\nlines %s", "\ud800\x1b[31m")
    of.created, of.msecs = 1_700_000_000.25, 250.0
    assert line(of) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "process": "worker-0",
        "logger": "test",
        "message": "two\nlines \ud800\x1b[31m",
    }


def test_a_position_in_a_message_is_fields_as_well() -> None:
    found = line(record("%s: dead letter %s", POSITION, "decode.corrupt", code="decode.corrupt"))
    assert found["message"] == "images[3]@41: dead letter decode.corrupt"
    assert (found["topic"], found["partition"], found["offset"]) == ("images", 3, 41)
    assert found["code"] == "decode.corrupt"


def test_a_partition_has_no_offset() -> None:
    found = line(record("%s: revoked", Partition("images", 3)))
    assert (found["topic"], found["partition"]) == ("images", 3)
    assert "offset" not in found


@pytest.mark.parametrize("error", [Halt("model.device", "gone"), Retry("kafka.down", "gone", 1.0)])
def test_an_error_in_a_message_brings_its_code(error: Halt | Retry) -> None:
    assert line(record("%s; trying again in %.1f s", error, 2.0))["code"] == error.code


def test_arguments_by_name_are_no_positions() -> None:
    found = line(record("%(where)s", {"where": POSITION}))
    assert found["message"] == "images[3]@41"
    assert "topic" not in found


def test_an_exception_is_a_field() -> None:
    of = record("failed")
    try:
        int("broken")
    except ValueError:
        of.exc_info = sys.exc_info()
    exception = line(of)["exception"]
    assert exception.startswith("Traceback")
    assert "ValueError" in exception


@pytest.mark.parametrize(
    ("format", "terminal", "is_json"),
    [
        ("auto", True, False),
        ("auto", False, True),
        ("json", True, True),
        ("text", False, False),
    ],
)
def test_terminals_get_text_and_all_else_json_unless_told(
    format: str, terminal: bool, is_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = configured(monkeypatch, Terminal() if terminal else io.StringIO(), format=format)
    logging.getLogger("test").warning("%s: revoked", POSITION)
    text = written.getvalue()
    assert text.startswith("{") == is_json
    assert "images[3]@41: revoked" in text
    assert "worker-0" in text


def test_workers_write_as_the_process_does_that_starts_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert LogPolicy().resolved().format == "text"
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert LogPolicy().resolved().format == "json"
    assert LogPolicy(format="text").resolved().format == "text"


def test_lines_below_the_level_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written = configured(monkeypatch, level="warning")
    logging.getLogger("pipeline.fetch").info("quiet")
    logging.getLogger("pipeline.fetch").warning("loud")
    assert [json.loads(text)["message"] for text in written.getvalue().splitlines()] == ["loud"]


@pytest.mark.parametrize("name", ["kafka.client", "botocore.auth", "urllib3"])
def test_libraries_write_warnings_at_most(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = configured(monkeypatch, level="debug")
    logging.getLogger(name).info("quiet")
    logging.getLogger(name).warning("loud")
    assert [json.loads(text)["message"] for text in written.getvalue().splitlines()] == ["loud"]


def test_a_second_configuration_replaces_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    first = configured(monkeypatch)
    second = configured(monkeypatch)
    logging.getLogger("test").warning("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


@pytest.mark.parametrize("flooding", ["kafka.client", "opentelemetry.sdk"])
def test_a_flood_from_one_place_of_a_library_is_held_back_and_others_are_not(
    flooding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = configured(monkeypatch)
    for number in range(5):
        logging.getLogger(flooding).warning("node %d is not ready", number)
        logging.getLogger("pipeline.fetch").warning("attempt %d", number)
    logging.getLogger(flooding).warning("something else")
    messages = [json.loads(text)["message"] for text in written.getvalue().splitlines()]
    assert messages == [
        "node 0 is not ready",
        *[f"attempt {number}" for number in range(5)],
        "something else",
    ]


def test_a_held_back_message_passes_again_after_the_interval() -> None:
    limit = RateLimit(FLOOD_INTERVAL_S)
    passed = []
    for created in (0.0, FLOOD_INTERVAL_S - 1, FLOOD_INTERVAL_S):
        of = record("again")
        of.created = created
        passed.append(limit.filter(of))
    assert passed == [True, False, True]


def test_what_a_limit_remembers_is_bounded() -> None:
    limit = RateLimit(FLOOD_INTERVAL_S)
    for number in range(3 * RateLimit.MAX_REMEMBERED):
        of = record("from many places")
        of.lineno = number
        assert limit.filter(of)
        assert len(limit._last) <= RateLimit.MAX_REMEMBERED


@pytest.mark.parametrize("layout", ["text", "json"])
def test_a_log_that_cannot_be_written_stops_nobody(
    layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.StringIO):
        attempts = 0

        def write(self, text: str) -> int:
            self.attempts += 1
            raise OSError(errno.ENOSPC, "No space left on device")

    full = Full()
    configured(monkeypatch, full, format=layout)
    logging.getLogger("test").error("%s: lost", POSITION)
    assert full.attempts


@pytest.mark.parametrize("form", ["json", "text"])
def test_lines_name_the_request_that_is_worked_on(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = configured(monkeypatch, format=form)
    log = logging.getLogger("test")
    log.info("before")
    token = REQUEST_ID.set("order-7")
    log.info("during")
    REQUEST_ID.reset(token)
    log.info("after")
    before, during, after = written.getvalue().splitlines()
    assert "order-7" in during
    assert ('"request_id": "order-7"' in during) is (form == "json")
    assert not any("request" in line for line in (before, after))
