"""Topics read back: what their failures are, and that nothing stays open."""

from __future__ import annotations

import kafka.errors as kafka_errors
import pytest
from kafka import TopicPartition

from pipeline.adapters.kafka import outcomes as kafka_outcomes
from pipeline.adapters.kafka.outcomes import input_keys
from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.errors import Halt, PipelineError, Retry

KAFKA = KafkaPolicy(bootstrap_servers=("a:1", "b:2"))


class FailingConsumer:
    """A consumer whose requests fail after it has connected."""

    def __init__(self, failure: Exception, fails_at: str) -> None:
        self._failure = failure
        self._fails_at = fails_at
        self.closed = False

    def partitions_for_topic(self, _: str) -> set[int]:
        self._asked("partitions")
        return {0}

    def assign(self, _: object) -> None: ...

    def seek_to_beginning(self, *_: object) -> None: ...

    def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 1)

    def position(self, _: object) -> int:
        return 0

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[object]]:
        assert timeout_ms > 0
        self._asked("poll")
        return {}

    def close(self) -> None:
        self.closed = True

    def _asked(self, what: str) -> None:
        if what == self._fails_at:
            raise self._failure


@pytest.mark.parametrize("fails_at", ["partitions", "poll"])
@pytest.mark.parametrize(
    ("failure", "of", "says"),
    [
        (
            kafka_errors.TopicAuthorizationFailedError(),
            Halt,
            r"^kafka\.not_authorized: kafka: reading references is not allowed",
        ),
        (
            kafka_errors.KafkaTimeoutError("slow"),
            Retry,
            r"^kafka\.unavailable: kafka: reading references failed \(KafkaTimeoutError: slow\)",
        ),
    ],
)
def test_reading_the_input_back_fails_by_the_tree_and_closes_the_consumer(
    failure: Exception,
    of: type[PipelineError],
    says: str,
    fails_at: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consumer = FailingConsumer(failure, fails_at)
    monkeypatch.setattr(kafka_outcomes, "connect", lambda *_: consumer)
    with pytest.raises(of, match=says):
        list(input_keys(KAFKA))
    assert consumer.closed
