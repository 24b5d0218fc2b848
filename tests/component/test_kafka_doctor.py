"""What the doctor finds on a real Kafka, and what it says to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.doctor import KafkaDoctor, sound_topics
from pipeline.adapters.kafka.policy import DeliveryPolicy, KafkaPolicy, TopicNames
from pipeline.errors import CommitDoubtful, Halt
from pipeline.ports import Check, CheckResult, Commit
from pipeline.records import OutputTopic
from pipeline.records.progress import Progress
from tests.rigs.services.kafka_deployment import Deployment
from tests.rigs.waiting import eventually
from workers.embedded.kafka import EmbeddedKafka

pytestmark = pytest.mark.component

WORKERS = 2
FAILED = CheckResult.FAILED


@pytest.fixture
def deployment(kafka_bootstrap: str) -> Iterator[Deployment]:
    """Topics with the broker's defaults."""
    with Deployment(kafka_bootstrap, start=None) as opened:
        yield opened


def findings(
    deployment: Deployment,
    kafka: KafkaPolicy | None = None,
    delivery: DeliveryPolicy | None = None,
    workers: int = WORKERS,
    served: str | None = None,
) -> dict[str, Check]:
    doctor = KafkaDoctor(
        deployment.admin,
        kafka or deployment.kafka,
        delivery or deployment.delivery,
        deployment.member(),
        workers,
        served,
    )
    return {check.subject: check for check in doctor.check()}


def failed(found: Mapping[str, Check]) -> dict[str, str]:
    return {each.subject: each.message for each in found.values() if each.result is FAILED}


def alter(deployment: Deployment, resource: ConfigResource) -> None:
    """Alter settings, and wait until the broker has heard of it from its controller."""
    client = deployment.admin.client
    client.alter_configs([resource])

    def altered() -> bool:
        asked = ConfigResource(resource.resource_type, resource.name)
        (by_name,) = client.describe_configs([asked], config_filter="all").values()
        known = by_name[resource.name]
        return all(known[name]["value"] == value for name, value in resource.configs.items())

    eventually(altered)


def configure(deployment: Deployment, topic: str, **settings: str) -> None:
    named = {name.replace("_", "."): value for name, value in settings.items()}
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, named)
    alter(deployment, resource)


def test_topics_that_the_doctor_creates_are_sound(deployment: Deployment) -> None:
    other = deployment.kafka.model_copy(
        update={
            "input_topics": (f"{deployment.input}-2",),
            "output_topics": TopicNames(
                **{role.value: f"{deployment.topic(role)}-2" for role in OutputTopic},
                label_sets=f"{deployment.input}-2.label-sets",
            ),
        }
    )
    wanted = sound_topics(other)
    missing = failed(findings(deployment, other))
    # Of the topic of label sets the doctor only warns.
    required = wanted.keys() - {other.output_topics.label_sets}
    assert missing.keys() == {f"topic {name}" for name in required}
    assert all("--create-topics" in message for message in missing.values())
    with KafkaAdmin(other) as admin:
        assert set(admin.create_topics(wanted, WORKERS, 1)) == wanted.keys()
        assert admin.create_topics(wanted, WORKERS, 1) == ()
    found = findings(deployment, other)
    assert failed(found) == {}
    # One broker cannot do better, and that is said.
    durability = found[f"durability of {other.input_topics[0]}"]
    assert durability.result is CheckResult.WARNING
    assert "replication 1" in durability.message


def test_a_dead_letter_topic_that_takes_no_more_than_the_input_fails(
    deployment: Deployment,
) -> None:
    name = deployment.topic(OutputTopic.DEAD_LETTERS)
    found = failed(findings(deployment))
    assert found.keys() == {f"size limit of {name}"}
    assert str(deployment.kafka.max_request_bytes) in found[f"size limit of {name}"]


@pytest.mark.parametrize("role", list(OutputTopic))
def test_an_output_topic_that_compacts_fails(deployment: Deployment, role: OutputTopic) -> None:
    name = deployment.topic(role)
    configure(deployment, name, cleanup_policy="compact,delete")
    assert "delete" in failed(findings(deployment))[f"clean-up of {name}"]


def test_the_topic_of_served_images_is_checked_where_they_are_published(
    deployment: Deployment,
) -> None:
    name = f"{deployment.input}.served"
    assert f"topic {name}" in failed(findings(deployment, served=name))
    assert name not in sound_topics(deployment.kafka)
    wanted = {name: sound_topics(deployment.kafka, name)[name]}
    assert deployment.admin.create_topics(wanted, 1, 1) == (name,)
    assert not any(name in subject for subject in failed(findings(deployment, served=name)))
    configure(deployment, name, max_message_bytes="1000")
    found = failed(findings(deployment, served=name))[f"size limit of {name}"]
    assert str(deployment.kafka.max_input_bytes) in found


def test_an_unclean_leader_election_fails(deployment: Deployment) -> None:
    configure(deployment, deployment.input, unclean_leader_election_enable="true")
    assert "unclean" in failed(findings(deployment))[f"durability of {deployment.input}"]


def test_an_input_topic_with_larger_records_than_configured_fails(deployment: Deployment) -> None:
    configure(deployment, deployment.input, max_message_bytes="2000000")
    assert "2000000" in failed(findings(deployment))[f"size limit of {deployment.input}"]


def test_workers_that_would_idle_are_a_warning(deployment: Deployment) -> None:
    found = findings(deployment, workers=5)[f"partitions of {deployment.input}"]
    assert found.result is CheckResult.WARNING
    assert "3 will idle" in found.message
    assert f"partitions of {deployment.input}" not in findings(deployment)


def test_a_session_that_the_broker_does_not_take_fails(deployment: Deployment) -> None:
    hasty = DeliveryPolicy(
        request_timeout_s=0.1,
        delivery_timeout_s=0.2,
        transaction_timeout_s=0.3,
        session_timeout_s=0.4,
    )
    assert "session_timeout_s" in failed(findings(deployment, delivery=hasty))["session timeout"]


def test_a_broker_without_room_for_what_is_done_beyond_an_offset_fails(tmp_path: Path) -> None:
    small = {"offset.metadata.max.bytes": "300"}
    with (
        EmbeddedKafka(tmp_path, properties=small) as kafka,
        Deployment(kafka.bootstrap, start="latest") as deployment,
    ):
        assert "raise it to 4096" in failed(findings(deployment))["offset metadata"]
        in_order = deployment.delivery.model_copy(update={"order": "partition"})
        assert "offset metadata" not in failed(findings(deployment, delivery=in_order))
        polling = deployment.ready()
        few, many = (Progress.of_runs(0, (1, 1) * count) for count in (20, 200))
        polling.stream.commit(Commit({deployment.partition(0): few}, ()))
        with pytest.raises(CommitDoubtful):
            polling.stream.commit(Commit({deployment.partition(0): many}, ()))
        assert polling.recover()[deployment.partition(0)] == few


def test_a_broker_that_does_not_verify_transactions_fails(deployment: Deployment) -> None:
    name = "transaction.partition.verification.enable"
    broker = ConfigResourceType.BROKER
    try:
        alter(deployment, ConfigResource(broker, "1", {name: "false"}))
        assert name in failed(findings(deployment))["transaction verification"]
    finally:
        alter(deployment, ConfigResource(broker, "1", {name: "true"}))


def test_transactions_are_checked_only_where_they_are_used(deployment: Deployment) -> None:
    subjects = findings(deployment).keys()
    without = findings(deployment, delivery=DeliveryPolicy(mode="at_least_once")).keys()
    assert subjects - without == {"transactional ids test/*", "hanging transactions"}


def test_settings_of_topics_are_set_and_their_others_left(deployment: Deployment) -> None:
    name = deployment.topic(OutputTopic.DEAD_LETTERS)
    deployment.admin.configure_topics({name: {"max.message.bytes": "2000000"}})
    deployment.admin.configure_topics({name: {"retention.ms": "1234567"}})
    asked = ConfigResource(ConfigResourceType.TOPIC, name)

    def known() -> dict[str, str]:
        described = deployment.admin.client.describe_configs([asked], config_filter="all")
        (by_name,) = described.values()
        settings = by_name[name]
        return {each: settings[each]["value"] for each in ("max.message.bytes", "retention.ms")}

    eventually(lambda: known() == {"max.message.bytes": "2000000", "retention.ms": "1234567"})
    with pytest.raises(Halt) as refused:
        deployment.admin.configure_topics({name: {"retention.ms": "for ever"}})
    assert refused.value.code == "kafka.refused"
