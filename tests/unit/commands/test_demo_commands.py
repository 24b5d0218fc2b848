"""What the demo prints to try is what works, once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from workers.demo.run import _commands


def test_the_consumer_is_told_once_to_read_committed_records_alone() -> None:
    s3: Any = SimpleNamespace(
        access_key="key", secret_key="secret", endpoint="http://127.0.0.1:1", region="us-east-1"
    )
    commands = dict(_commands(Path("demo.yaml"), s3, "127.0.0.1:9092", 8000))
    consumer = commands["read the classifications as they come"]
    assert consumer.count("isolation_level=read_committed") == 1
    assert "-b 127.0.0.1:9092" in consumer
    assert consumer.endswith("-t clipstream.classifications")
