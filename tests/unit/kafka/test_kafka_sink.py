"""Publishing: calls that are given up, records that are refused, producers thrown away."""

from __future__ import annotations

import threading

import kafka.errors as kafka_errors
import pytest

from pipeline.adapters.kafka.policy import DeliveryPolicy, KafkaPolicy, Member
from pipeline.adapters.kafka.sink import KafkaSink, within
from pipeline.errors import CommitDoubtful, Halt
from tests.rigs.failing_producer import FailingProducer, refused_with


def test_a_call_that_does_not_end_is_given_up() -> None:
    ended = threading.Event()

    def hang() -> None:
        ended.wait()

    with pytest.raises(CommitDoubtful, match=r"commit took longer than 0\.01 s") as raised:
        within(0.01, "commit", hang)
    ended.set()
    assert raised.value.code == "kafka.timeout"


def test_the_failure_of_a_call_is_the_callers() -> None:
    def fail() -> None:
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        within(10.0, "commit", fail)
    within(10.0, "commit", lambda: None)


def test_a_producer_that_is_thrown_away_counts_as_failed() -> None:
    # Whoever builds the next one asks the group first: see KafkaStream.recover.
    sink = KafkaSink(KafkaPolicy(), DeliveryPolicy(), Member("p", "g", "host", 0), lambda: 7.0)
    sink.discard()
    assert sink.failed_at is None
    sink._producer = FailingProducer(kafka_errors.KafkaError())
    sink.discard()
    assert sink.failed_at == 7.0


@pytest.mark.parametrize(
    "error",
    [
        kafka_errors.NotLeaderForPartitionError(),
        kafka_errors.LeaderNotAvailableError(),
        kafka_errors.NotEnoughReplicasError(),
        kafka_errors.NotEnoughReplicasAfterAppendError(),
        kafka_errors.OutOfOrderSequenceNumberError(),
        kafka_errors.CoordinatorNotAvailableError(),
        kafka_errors.CoordinatorLoadInProgressError(),
        kafka_errors.IllegalGenerationError(),
        kafka_errors.KafkaStorageError(),
        kafka_errors.ThrottlingQuotaExceededError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refused_record_makes_the_commit_doubtful_and_its_producer_is_thrown_away(
    error: kafka_errors.KafkaError,
) -> None:
    failure = refused_with(error)
    assert isinstance(failure, CommitDoubtful)
    assert failure.code == "kafka.publish_failed"
    assert type(error).__name__ in failure.message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (kafka_errors.TopicAuthorizationFailedError({"dead"}), "kafka.not_authorized"),
        (kafka_errors.TransactionalIdAuthorizationFailedError(), "kafka.not_authorized"),
        (kafka_errors.SaslAuthenticationFailedError("secret"), "kafka.not_authenticated"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_rights_that_are_taken_away_stop_the_worker_and_skip_nothing(
    error: kafka_errors.KafkaError, code: str
) -> None:
    failure = refused_with(error)
    assert isinstance(failure, Halt)
    assert failure.code == code
    assert "secret" not in failure.message
