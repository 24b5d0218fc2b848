"""Settings of Kafka and of delivery: what is refused, and the client options made of them."""

from __future__ import annotations

import importlib.util
import itertools
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from pydantic import SecretStr, ValidationError

from pipeline.adapters.kafka.policy import (
    DEAD_LETTER_HEADROOM_BYTES,
    MAX_BATCH_BYTES,
    DeliveryPolicy,
    KafkaPolicy,
    Member,
    TopicNames,
    common_options,
    consumer_options,
    producer_options,
)
from pipeline.adapters.kafka.security.policy import KafkaSecurity
from pipeline.errors import Halt
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


def test_commits_are_more_frequent_than_transactions_time_out() -> None:
    with pytest.raises(ValidationError, match=r"commit_interval_s: 15 s must be below .*\(15 s\)"):
        DeliveryPolicy(commit_interval_s=15)


@pytest.mark.parametrize("server", ["a:9092", "10.0.0.1:1", "[::1]:65535", "b-1.example_x.com:9"])
def test_brokers_are_hosts_and_ports(server: str) -> None:
    assert KafkaPolicy(bootstrap_servers=("a:1", server)).bootstrap_servers[1] == server


@pytest.mark.parametrize(
    "server",
    ["", "a", ":9092", "a:", "a:b", "a:0", "a:65536", "::1:9092", "kafka://a:9092", "a:9092/x",
     "u:secret@a:9092", "a:9092,b:9092", "a :9092"],
)  # fmt: skip
def test_what_is_no_host_and_port_is_refused(server: str) -> None:
    with pytest.raises(ValidationError, match="entry 2 is not host:port; write it as") as caught:
        KafkaPolicy(bootstrap_servers=("a:1", server))
    assert "secret" not in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "ö", "x" * 250])
def test_topics_have_names_that_kafka_takes(name: str) -> None:
    with pytest.raises(ValidationError, match=r"input_topics\n.*is not a topic's name; use 1 to"):
        KafkaPolicy(input_topics=("a", name))
    with pytest.raises(ValidationError, match=r"embeddings\n.*is not a topic's name; use 1 to"):
        TopicNames(embeddings=name)
    assert KafkaPolicy(input_topics=("x" * 249,)).input_topics == ("x" * 249,)


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
        (
            {"protocol": "SASL_SSL"},
            "SASL_SSL needs one; write PLAIN, .*, AWS_MSK_IAM or OAUTHBEARER",
        ),
        (
            {"sasl_mechanism": "PLAIN", "username": "u", "password": "p"},
            "sasl_mechanism: has no use with protocol PLAINTEXT; write SASL_SSL or SASL_PLAINTEXT",
        ),
        ({"username": "u"}, "username: has no use .* write SASL_SSL or SASL_PLAINTEXT for"),
        ({"ca_file": "c.pem"}, "ca_file: has no use with protocol PLAINTEXT; write SSL for"),
        ({"key_password": "p"}, "key_password: has no use .* write SSL for"),
        ({"ca_file": "c.pem", "username": "u"}, "write SASL_SSL for .* leave ca_file and username"),
        ({"protocol": "SSL", "password": "p"}, "password: has no use .* write SASL_SSL for"),
        (
            {
                "protocol": "SASL_PLAINTEXT",
                "sasl_mechanism": "PLAIN",
                "username": "u",
                "password": "p",
                "ca_file": "c.pem",
            },
            "ca_file: has no use with protocol SASL_PLAINTEXT; write SASL_SSL for",
        ),
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "OAUTHBEARER needs oauth_token_file"),
        ({"oauth_token_url": "https://id.example.com/token"}, "oauth_client_id"),
        (
            {"oauth_token_file": "/var/run/token", "oauth_token_url": "https://id.example.com/"},
            "two ways",
        ),
        ({"oauth_token_url": "id.example.com"}, "oauth_token_url"),
    ],
)
def test_oauth_needs_one_way_to_a_token(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        KafkaSecurity.model_validate(
            {"protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"} | settings
        )


def test_kerberos_needs_no_password_and_names_its_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    security = KafkaSecurity(
        protocol="SASL_PLAINTEXT", sasl_mechanism="GSSAPI", kerberos_service="broker"
    )
    options = security.client_options()
    assert options["sasl_kerberos_service_name"] == "broker"
    assert "sasl_plain_password" not in options


def test_kerberos_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    security = KafkaSecurity(protocol="SASL_PLAINTEXT", sasl_mechanism="GSSAPI")
    with pytest.raises(Halt, match=r"sasl_mechanism: GSSAPI .* pip install gssapi") as caught:
        security.client_options()
    assert caught.value.code == "settings.invalid"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ca_file": "/nope"}, "ca_file: /nope cannot be read (No such file or directory); check"),
        ({"ca_file": "FILE"}, "ca_file: FILE holds no certificates in PEM; name a file that does"),
        ({"certificate_file": "/nope", "key_file": "FILE"}, "certificate_file: /nope cannot be"),
        ({"certificate_file": "FILE", "key_file": "/nope"}, "key_file: /nope cannot be read"),
        (
            {"certificate_file": "FILE", "key_file": "FILE", "key_password": "hidden"},
            "certificate_file: FILE and FILE are no certificate and its key in PEM",
        ),
        ({"ciphers": "bogus"}, "ciphers: 'bogus' names no cipher; see `openssl ciphers"),
    ],
)
def test_tls_files_and_ciphers_that_cannot_be_used_are_named(
    settings: dict[str, str], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "not.pem"
    file.write_text("no PEM")
    named = {name: value.replace("FILE", str(file)) for name, value in settings.items()}
    with pytest.raises(Halt) as caught:
        KafkaSecurity.model_validate({"protocol": "SSL"} | named).client_options()
    assert caught.value.code == "settings.invalid"
    assert caught.value.message.startswith(f"kafka.security.{message.replace('FILE', str(file))}")
    assert "hidden" not in caught.value.message


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
    security = KafkaSecurity(protocol="SSL", key_password=SecretStr("hidden"))
    assert "hidden" not in repr(security)


def test_every_output_topic_has_a_name_but_that_of_actions() -> None:
    names = KAFKA.output_topics
    assert names.in_use == {
        OutputTopic.CLASSIFICATIONS: "clipstream.classifications",
        OutputTopic.EMBEDDINGS: "clipstream.embeddings",
        OutputTopic.DEAD_LETTERS: "clipstream.dead-letters",
    }
    assert {role: names.name(role) for role in names.in_use} == names.in_use
    with pytest.raises(KeyError):
        names.name(OutputTopic.ACTIONS)


def test_the_topic_of_actions_is_checked_like_the_others() -> None:
    named = TopicNames(actions="clipstream.actions")
    assert named.in_use[OutputTopic.ACTIONS] == named.name(OutputTopic.ACTIONS)
    assert len(named.in_use) == len(OutputTopic)
    with pytest.raises(ValidationError, match="not a topic's name"):
        TopicNames(actions="no topic")
    for clash in ("clipstream.references", "clipstream.dead-letters"):
        with pytest.raises(ValidationError, match=r"is an output topic too|have the same name"):
            KafkaPolicy(output_topics=TopicNames(actions=clash))
