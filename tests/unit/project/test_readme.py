"""README.md shows what works: its reader of results, its topics and its commands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import kafka
import pytest

from pipeline.adapters.kafka.policy import TopicNames
from tests.golden.run import EVENTS
from tests.rigs.root import ROOT
from workers.cli import app

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONSUMER = kafka.KafkaConsumer


def test_the_reader_of_results_prints_a_line_for_each_label_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run as it stands, on the events that are pinned, with the client's own names of options."""
    asked: dict[str, Any] = {}
    published = [event for event in json.loads(EVENTS.read_text()) if "text" in event["value"]]

    def consumer(*topics: str, **options: Any) -> Iterator[SimpleNamespace]:
        asked.update(options, topics=topics)
        for event in published:
            if getattr(TopicNames(), event["topic"]) in topics:
                yield SimpleNamespace(value=event["value"]["text"].encode())

    monkeypatch.setattr(kafka, "KafkaConsumer", consumer)
    # tests/component/clients/test_http_page.py runs the other example.
    reader, _ = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    exec(compile(reader, "README.md", "exec"), {})

    assert asked.pop("topics") == (TopicNames().classifications,)
    assert asked.keys() <= CONSUMER.DEFAULT_CONFIG.keys()
    assert asked["isolation_level"] == "read_committed"
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "s3://images/2026/photo 0.jpg chaos review ['cat', 'dog']",
        "s3://images/2026/photo 0.jpg strict allow []",
    ]


def test_topics_that_the_page_names_are_those_of_the_defaults() -> None:
    named = set(re.findall(r"\bclipstream\.[a-z-]+\b", README))
    assert named == {TopicNames().classifications, TopicNames().dead_letters}
    (line,) = re.findall(r"^kafka-console-consumer\.sh .*$", README, re.MULTILINE)
    assert "--isolation-level read_committed" in line


def test_every_command_is_shown_and_exists() -> None:
    commands = {getattr(command.callback, "__name__", "") for command in app.registered_commands}
    groups = {group.name for group in app.registered_groups}
    assert set(re.findall(r"(?:^|[`/])clipstream (\w+)", README, re.MULTILINE)) == commands | groups
