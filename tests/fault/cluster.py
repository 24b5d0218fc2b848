"""A cluster of two brokers on loopback, whose second one may be stopped or killed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kafka import KafkaAdminClient, TopicPartition
from kafka.protocol.admin import ElectionType

from pipeline.adapters.kafka.clients import connect
from tests.rigs.services.broker_settings import IMPATIENT_BROKER
from tests.rigs.waiting import eventually
from workers.embedded.kafka import EmbeddedKafka

FIRST, SECOND = 1, 2
"""Ids of the brokers. The first is the controller too, and stays."""

GROUP_OFFSETS, TRANSACTIONS = "__consumer_offsets", "__transaction_state"

PROPERTIES = {
    **IMPATIENT_BROKER,
    # One partition each, so that one broker coordinates every group and every transaction.
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "2",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "2",
    # A broker that was killed is missed soon, and may come back soon.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "400",
    # Leaders move when a test says so.
    "auto.leader.rebalance.enable": "false",
}


class JoiningBroker(EmbeddedKafka):
    """A broker of another one's cluster, which is no controller."""

    def __init__(self, data_dir: Path, controller: EmbeddedKafka, node: int) -> None:
        super().__init__(data_dir, properties=PROPERTIES)
        self._controller = controller
        self._node = node

    def start(self) -> None:
        # In place of formatting, which would make a cluster of its own.
        identity = self._data / "log" / "meta.properties"
        if not identity.exists():
            identity.parent.mkdir(parents=True)
            identity.write_text(f"version=1\ncluster.id={self._cluster_id}\nnode.id={self._node}\n")
        super().start()

    @property
    def _cluster_id(self) -> str:
        lines = (self._controller._data / "log" / "meta.properties").read_text().splitlines()
        return dict(line.partition("=")[::2] for line in lines)["cluster.id"]

    def _configuration(self) -> dict[str, str]:
        theirs = self._controller._configuration()
        return super()._configuration() | {
            "process.roles": "broker",
            "node.id": str(self._node),
            "controller.quorum.voters": theirs["controller.quorum.voters"],
            "listeners": f"CLIENT://{self.bootstrap}",
        }


class Cluster:
    """Two brokers. Each partition of a test lies where the test says."""

    def __init__(self, folder: Path) -> None:
        self.first = EmbeddedKafka(folder / "first", properties=PROPERTIES)
        self.second = JoiningBroker(folder / "second", self.first, SECOND)

    def __enter__(self) -> Self:
        self.first.start()
        try:
            self.second.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self.second.stop()
        self.first.stop()

    @contextmanager
    def killed(self) -> Iterator[None]:
        """The second broker dies, and comes back."""
        self.second.kill()
        try:
            yield
        finally:
            self.second.start()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The second broker is stopped in order, and comes back."""
        self.second.stop()
        try:
            yield
        finally:
            self.second.start()

    def leaders(self, *topics: str) -> set[int]:
        """Ids of the brokers that lead partitions of the topics; -1 for none."""
        with self._administered() as admin:
            return {each["leader_id"] for each in _partitions(admin, topics).values()}

    def lead(self, broker: int, *topics: str) -> None:
        """Have that broker lead every partition of the topics, both brokers holding them."""
        replicas = [broker, *({FIRST, SECOND} - {broker})]
        with self._administered() as admin:
            numbers = dict.fromkeys(_partitions(admin, topics), replicas)
            admin.alter_partition_reassignments(numbers)
            eventually(
                lambda: all(
                    each["replica_nodes"] == replicas and {*each["isr_nodes"]} == {*replicas}
                    for each in _partitions(admin, topics).values()
                )
            )
            admin.elect_leaders(ElectionType.PREFERRED, list(topics))
        eventually(lambda: self.leaders(*topics) == {broker})

    @contextmanager
    def _administered(self) -> Iterator[Any]:
        # Never for long: the client loses its way where the broker it asks is stopped.
        options = {"bootstrap_servers": [self.first.bootstrap]}
        with closing(connect(KafkaAdminClient, options)) as admin:
            yield admin


def _partitions(admin: Any, topics: Collection[str]) -> dict[TopicPartition, dict[str, Any]]:
    return {
        TopicPartition(topic["name"], each["partition_index"]): each
        for topic in admin.describe_topics(list(topics))
        for each in topic["partitions"]
    }
