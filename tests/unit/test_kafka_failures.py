"""In which words a failure of Kafka is told."""

from __future__ import annotations

import kafka.errors as kafka_errors
import pytest

from pipeline.adapters.kafka import admin as kafka_admin
from pipeline.adapters.kafka import enqueue as kafka_references
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.adapters.kafka.failures import consuming, described
from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.errors import Halt, Retry

KAFKA = KafkaPolicy(bootstrap_servers=("a:1", "b:2"))


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def connect(*_: object) -> None:
        raise error

    monkeypatch.setattr(kafka_admin, "connect", connect)
    monkeypatch.setattr(kafka_references, "connect", connect)


@pytest.mark.parametrize(
    "error", [kafka_errors.KafkaTimeoutError("gone"), kafka_errors.KafkaConnectionError("gone")]
)
def test_brokers_that_do_not_answer_are_named_with_what_to_check(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, error)
    said = (
        r"^kafka.unavailable: kafka: a:1, b:2 does not answer; check kafka\.bootstrap_servers, the "
        r"network and kafka\.security\.protocol$"
    )
    with pytest.raises(Retry, match=said):
        KafkaAdmin(KAFKA)
    with pytest.raises(Retry, match=said):
        ReferenceProducer(KAFKA, "topic")


def test_refused_credentials_are_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, kafka_errors.SaslAuthenticationFailedError("secret"))
    with pytest.raises(Halt, match="refuses the credentials"):
        KafkaAdmin(KAFKA)
    with pytest.raises(Halt, match="refuses the credentials"):
        ReferenceProducer(KAFKA, "topic")


def test_the_class_of_an_error_is_named_once() -> None:
    assert described(kafka_errors.KafkaTimeoutError("slow")) == "KafkaTimeoutError: slow"
    assert described(kafka_errors.KafkaTimeoutError()) == "KafkaTimeoutError"
    failure = consuming(kafka_errors.KafkaTimeoutError("slow"), "group")
    assert failure.message == "kafka: KafkaTimeoutError: slow"
