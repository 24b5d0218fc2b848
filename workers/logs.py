"""Logs: text on a terminal, otherwise JSON lines."""

from __future__ import annotations

import json
import logging
import sys
import time
from contextvars import ContextVar
from typing import Literal, Self

from pydantic import Field

from pipeline.errors import PipelineError
from pipeline.policy import Policy, Tier
from pipeline.records import Partition, Position

FLOODING = ("kafka.", "opentelemetry.")
"""Libraries some of whose failures flood the log."""
FLOOD_INTERVAL_S = 10.0
"""Shortest interval between repeated messages of these libraries."""


REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The HTTP request that is worked on. Each line of the log that is written meanwhile names it."""


class LogPolicy(Policy):
    """What is logged, and how."""

    tier = Tier.EVERYDAY

    format: Literal["auto", "text", "json"] = Field(
        "auto", description="auto: text on a terminal, otherwise JSON lines."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest severity of messages that are logged."
    )

    def resolved(self) -> Self:
        """The policy with ``auto`` replaced by this process's format. Remote workers, whose
        standard error is never a terminal, then write the same format."""
        if self.format != "auto":
            return self
        return self.model_copy(update={"format": "text" if sys.stderr.isatty() else "json"})


class TextFormatter(logging.Formatter):
    """One line of text, with the request if there is one."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        line = super().formatMessage(record)
        request_id = REQUEST_ID.get()
        return line if request_id is None else f"{line} request={request_id}"


class JsonFormatter(logging.Formatter):
    """One JSON object on each line. Positions and errors in a message's arguments become fields:
    topic, partition, offset and code. A line of a request has its ``request_id``."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = {}
    for argument in record.args if isinstance(record.args, tuple) else ():
        match argument:
            case Position(Partition(topic, number), offset):
                fields |= {"topic": topic, "partition": number, "offset": offset}
            case Partition(topic, number):
                fields |= {"topic": topic, "partition": number}
            case PipelineError():
                fields["code"] = argument.code
    if hasattr(record, "code"):  # given as `extra` when no error carries it
        fields["code"] = record.code
    for name in ("act", "who", "what"):  # of the audit log
        if hasattr(record, name):
            fields[name] = getattr(record, name)
    request_id = REQUEST_ID.get()
    if request_id is not None:
        fields["request_id"] = request_id
    return fields


class RateLimit(logging.Filter):
    """Passes the messages of each place in the code once in ``interval_s`` seconds."""

    MAX_REMEMBERED = 256

    def __init__(self, interval_s: float) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._last: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        # The place and not the text, because the messages of a flood differ in their numbers.
        place = (record.pathname, record.lineno)
        last = self._last.get(place)
        if last is not None and record.created - last < self._interval_s:
            return False
        if len(self._last) >= self.MAX_REMEMBERED:
            self._last.clear()
        self._last[place] = record.created
        return True


def configure_logging(policy: LogPolicy, process: str) -> None:
    """Set up the root logger, once in each process. Logs go to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    if policy.resolved().format == "text":
        layout = f"%(asctime)s %(levelname)-7s {process} %(message)s"
        handler.setFormatter(TextFormatter(layout, "%H:%M:%S"))
    else:
        handler.setFormatter(JsonFormatter(process))
    limit = RateLimit(FLOOD_INTERVAL_S)
    handler.addFilter(lambda record: not record.name.startswith(FLOODING) or limit.filter(record))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(policy.level.upper())
    # Who wants less of a log still has to answer for what was done.
    logging.getLogger("clipstream.audit").setLevel(logging.INFO)
    # Its info lines report every connection.
    logging.getLogger("kafka").setLevel(max(logging.WARNING, root.level))
    for noisy in ("botocore", "boto3", "urllib3", "httpx", "transformers"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
