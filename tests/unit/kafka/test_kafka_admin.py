"""Administration: what is asked of the client, and what its answers mean."""

from __future__ import annotations

from typing import Any

import pytest
from kafka.admin import ConfigResource

from pipeline.adapters.kafka import admin as kafka_admin
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.errors import Halt

IN_SYNC = {"min.insync.replicas": "2"}


class Client:
    """Knows two topics, and answers changes as it was told."""

    answer = "OK"
    broker_version = (4, 3)

    def __init__(self) -> None:
        self._manager = self
        self.altered: list[ConfigResource] = []

    def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        nodes = {"even": [[1, 2, 3], [2, 3, 1]], "uneven": [[1, 2, 3], [1, 2]]}
        return [
            {
                "name": name,
                "error_code": 0 if name in nodes else 3,
                "partitions": [{"replica_nodes": each} for each in nodes.get(name, [])],
            }
            for name in names
        ]

    def alter_configs(self, resources: list[ConfigResource], **_: Any) -> dict[str, Any]:
        self.altered += resources
        return {"topic": {each.name: self.answer for each in resources}}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()
    monkeypatch.setattr(kafka_admin, "connect", lambda *_: made)
    return made


def test_the_replication_of_a_topic_is_its_weakest_partitions(client: Client) -> None:
    admin = KafkaAdmin(KafkaPolicy())
    assert admin.replication(["even", "uneven", "gone"]) == {"even": 3, "uneven": 2}


def test_settings_are_sent_topic_by_topic(client: Client) -> None:
    KafkaAdmin(KafkaPolicy()).configure_topics({"even": IN_SYNC, "uneven": IN_SYNC})
    assert [(each.name, each.configs) for each in client.altered] == [
        ("even", IN_SYNC),
        ("uneven", IN_SYNC),
    ]
    KafkaAdmin(KafkaPolicy()).configure_topics({})
    assert len(client.altered) == 2


def test_a_refused_change_is_not_taken_for_done(client: Client) -> None:
    """The client raises nothing: it returns what the broker said."""
    client.answer = "[Error 29] TopicAuthorizationFailedError"
    with pytest.raises(Halt, match="AlterConfigs") as caught:
        KafkaAdmin(KafkaPolicy()).configure_topics({"even": IN_SYNC})
    assert "min.insync.replicas=2 of topic even" in caught.value.message


@pytest.mark.parametrize("version", [(2, 4), (2, 7)])
def test_brokers_whose_topics_have_no_ids_are_refused(
    client: Client, version: tuple[int, int]
) -> None:
    client.broker_version = version
    with pytest.raises(Halt, match=r"2\.8 or later") as caught:
        KafkaAdmin(KafkaPolicy()).facts()
    assert caught.value.code == "kafka.too_old"
