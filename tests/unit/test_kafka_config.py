"""Settings of Kafka and of delivery: what is refused, and the client options made of them."""

from __future__ import annotations

import itertools
import ssl
from datetime import UTC, datetime
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from pydantic import SecretStr, ValidationError

from pipeline.adapters.kafka_config import (
    DEAD_LETTER_HEADROOM_BYTES,
    MAX_BATCH_BYTES,
    DeliveryPolicy,
    KafkaPolicy,
    KafkaSecurity,
    Member,
    TopicNames,
    common_options,
    consumer_options,
    producer_options,
)
from pipeline.records import OutputTopic

KAFKA = KafkaPolicy()
DELIVERY = DeliveryPolicy()
MEMBER = Member("prefix", "group", "host", 3)

LIMITS = (
    "request_timeout_s",
    "delivery_timeout_s",
    "transaction_timeout_s",
    "session_timeout_s",
    "max_poll_interval_s",
)


@pytest.mark.parametrize(("small", "large"), list(itertools.pairwise(LIMITS)))
def test_each_time_limit_must_be_below_the_next(small: str, large: str) -> None:
    limits = {name: float(index) for index, name in enumerate(LIMITS, start=1)}
    DeliveryPolicy.model_validate(limits)
    with pytest.raises(ValidationError, match=f"{small}.*must be below.*{large}"):
        DeliveryPolicy.model_validate(limits | {small: limits[large]})


def test_a_transaction_may_take_no_more_than_fifteen_seconds() -> None:
    assert DeliveryPolicy(transaction_timeout_s=15.0).transaction_timeout_s == 15
    with pytest.raises(ValidationError, match="transaction_timeout_s"):
        DeliveryPolicy(transaction_timeout_s=15.1)


@pytest.mark.parametrize("field", [*LIMITS, "commit_interval_s", "max_outcomes_per_commit"])
@pytest.mark.parametrize("value", [0, -1])
def test_limits_are_positive(field: str, value: int) -> None:
    with pytest.raises(ValidationError, match=field):
        DeliveryPolicy(**{field: value})


def test_a_start_time_needs_its_zone() -> None:
    assert DeliveryPolicy(start=datetime(2026, 1, 2, tzinfo=UTC)).start.year == 2026  # type: ignore[union-attr]
    assert DeliveryPolicy.model_validate({"start": "2026-01-02T03:04:05Z"}).start == datetime(
        2026, 1, 2, 3, 4, 5, tzinfo=UTC
    )
    with pytest.raises(ValidationError, match="zone"):
        DeliveryPolicy.model_validate({"start": "2026-01-02T03:04:05"})
    with pytest.raises(ValidationError, match="start"):
        DeliveryPolicy.model_validate({"start": "newest"})


def test_an_input_that_is_an_output_is_refused() -> None:
    with pytest.raises(ValidationError, match="read what it writes"):
        KafkaPolicy(input_topics=("in", "clipstream.embeddings"))


def test_two_outputs_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="same name"):
        KafkaPolicy(output_topics=TopicNames(classifications="out", embeddings="out"))


@pytest.mark.parametrize("field", ["group", "transactional_id_prefix", "instance"])
@pytest.mark.parametrize("value", ["", "with space", "ö", "a/b", "x" * 250])
def test_names_that_ids_are_made_of_are_legal(field: str, value: str) -> None:
    with pytest.raises(ValidationError, match=field):
        KafkaPolicy(**{field: value})
    assert getattr(KafkaPolicy(**{field: "Legal-1.2_3"}), field) == "Legal-1.2_3"


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="brokers"):
        KafkaPolicy.model_validate({"brokers": ["localhost:9092"]})


def test_ids_of_members_differ_by_group_driver_and_slot_and_repeat() -> None:
    members = [
        Member(prefix, group, instance, slot)
        for prefix in ("p", "q")
        for group in ("g", "h")
        for instance in ("a", "b")
        for slot in (0, 1)
    ]
    assert len({member.transactional_id for member in members}) == len(members)
    of_group = [m for m in members if (m.prefix, m.group) == ("p", "g")]
    assert len({member.group_instance_id for member in of_group}) == len(of_group)
    assert Member("p", "g", "a", 0).transactional_id == "p/g/a/0"
    assert Member("p", "g", "a", 0).group_instance_id == "a-0"


def test_names_that_run_into_each_other_make_different_ids() -> None:
    one = Member("clipstream", "images", "staging-worker-0", 0)
    other = Member("clipstream", "images-staging", "worker-0", 0)
    assert one.transactional_id != other.transactional_id


def test_the_consumer_starts_nowhere_by_itself_and_commits_nothing() -> None:
    options = consumer_options(KAFKA, DELIVERY, MEMBER)
    assert options["auto_offset_reset"] == "none"
    assert options["enable_auto_commit"] is False
    assert options["isolation_level"] == "read_committed"
    assert options["partition_assignment_strategy"] == [CooperativeStickyAssignor]
    assert options["group_instance_id"] == MEMBER.group_instance_id
    assert not [name for name in options if "deserializer" in name]


@pytest.mark.parametrize(("session_s", "heartbeat_ms"), [(45.0, 3000), (18.0, 3000), (16.0, 3000)])
def test_a_member_beats_thrice_in_a_session_at_least(session_s: float, heartbeat_ms: int) -> None:
    options = consumer_options(KAFKA, DeliveryPolicy(session_timeout_s=session_s), MEMBER)
    assert options["session_timeout_ms"] == session_s * 1000
    assert options["heartbeat_interval_ms"] == heartbeat_ms
    assert 3 * options["heartbeat_interval_ms"] <= options["session_timeout_ms"]


def test_a_record_of_the_largest_size_can_be_fetched() -> None:
    large = KafkaPolicy(max_input_bytes=5_000_000)
    options = consumer_options(large, DELIVERY, MEMBER)
    assert options["max_partition_fetch_bytes"] >= large.max_input_bytes


def test_the_producer_has_room_for_a_dead_letter_and_batches_that_fit_the_input() -> None:
    small = KafkaPolicy(max_input_bytes=100_000)
    options = producer_options(small, DELIVERY, MEMBER)
    assert options["max_request_size"] == 100_000 + DEAD_LETTER_HEADROOM_BYTES
    assert options["batch_size"] == 100_000
    assert producer_options(KAFKA, DELIVERY, MEMBER)["batch_size"] == MAX_BATCH_BYTES


def test_the_producer_keeps_the_order_of_time_limits() -> None:
    options = producer_options(KAFKA, DELIVERY, MEMBER)
    assert options["acks"] == "all"
    assert options["enable_idempotence"] is True
    assert (
        options["request_timeout_ms"]
        < options["delivery_timeout_ms"]
        < options["transaction_timeout_ms"]
        < consumer_options(KAFKA, DELIVERY, MEMBER)["session_timeout_ms"]
    )


def test_a_transactional_id_is_used_in_exactly_once_alone() -> None:
    assert producer_options(KAFKA, DELIVERY, MEMBER)["transactional_id"] == "prefix/group/host/3"
    without = producer_options(KAFKA, DeliveryPolicy(mode="at_least_once"), MEMBER)
    assert not {"transactional_id", "transaction_timeout_ms"} & without.keys()
    assert without["enable_idempotence"] is True


@pytest.mark.parametrize(
    ("client", "options"),
    [
        (KafkaConsumer, consumer_options(KAFKA, DELIVERY, MEMBER)),
        (KafkaProducer, producer_options(KAFKA, DELIVERY, MEMBER)),
        (KafkaAdminClient, common_options(KAFKA, "admin")),
    ],
)
def test_clients_know_every_option(client: Any, options: dict[str, Any]) -> None:
    assert options.keys() <= client.DEFAULT_CONFIG.keys()


# -- security -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"protocol": "SASL_SSL"}, "do not go together"),
        ({"sasl_mechanism": "PLAIN", "username": "u", "password": "p"}, "do not go together"),
        ({"protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"}, "needs username and password"),
        (
            {"protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "username": "u"},
            "needs username and password",
        ),
        ({"protocol": "SSL", "certificate_file": "c.pem"}, "together"),
        ({"protocol": "SSL", "key_file": "k.pem"}, "together"),
        ({"protocol": "TLS"}, "protocol"),
    ],
)
def test_incomplete_security_is_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        KafkaSecurity.model_validate(settings)


def test_plaintext_says_nothing_of_tls_or_sasl() -> None:
    assert KafkaSecurity().client_options() == {"security_protocol": "PLAINTEXT"}


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_user_and_password_reach_the_client_and_no_text(mechanism: str) -> None:
    security = KafkaSecurity.model_validate(
        {
            "protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": mechanism,
            "username": "user",
            "password": "hidden",
        }
    )
    assert security.client_options() == {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
        "sasl_plain_username": "user",
        "sasl_plain_password": "hidden",
    }
    assert "hidden" not in f"{security} {security!r} {security.model_dump_json()}"


def test_kerberos_needs_no_password_and_names_its_service() -> None:
    security = KafkaSecurity(
        protocol="SASL_PLAINTEXT", sasl_mechanism="GSSAPI", kerberos_service="broker"
    )
    options = security.client_options()
    assert options["sasl_kerberos_service_name"] == "broker"
    assert "sasl_plain_password" not in options


@pytest.mark.parametrize("check_hostname", [True, False])
def test_tls_checks_certificates_always_and_names_unless_told(check_hostname: bool) -> None:
    options = KafkaSecurity(protocol="SSL", check_hostname=check_hostname).client_options()
    context = options["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname is options["ssl_check_hostname"] is check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_ciphers_are_applied() -> None:
    """kafka-python documents ``ssl_ciphers``, and does nothing with it."""
    name = "ECDHE-RSA-AES256-GCM-SHA384"
    context = KafkaSecurity(protocol="SSL", ciphers=name).client_options()["ssl_context"]
    of_tls_1_2 = [c["name"] for c in context.get_ciphers() if c["protocol"] != "TLSv1.3"]
    assert of_tls_1_2 == [name]


def test_secrets_are_secret_by_type() -> None:
    security = KafkaSecurity(key_password=SecretStr("hidden"))
    assert "hidden" not in repr(security)


def test_every_output_topic_has_a_name() -> None:
    assert {KAFKA.output_topics.name(role) for role in OutputTopic} == {
        "clipstream.classifications",
        "clipstream.embeddings",
        "clipstream.dead-letters",
    }
