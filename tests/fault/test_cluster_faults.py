"""A worker of a cluster whose leaders and coordinators move, or are missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import pytest

from pipeline.adapters.kafka import offsets as kafka_offsets
from pipeline.adapters.kafka.admin import Start
from pipeline.records import OutputTopic
from tests.fault.cluster import FIRST, GROUP_OFFSETS, SECOND, TRANSACTIONS, Cluster
from tests.rigs.services.kafka_deployment import IMPATIENT, MODES, Deployment, Mode
from tests.rigs.waiting import eventually
from tests.rigs.workers.worker_of_deployment import classified, references, working
from workers.stream import committing

# The client leaves sockets that were refused to the garbage collector.
pytestmark = [
    pytest.mark.component,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

TWO_IN_SYNC = {role: {"min.insync.replicas": "2"} for role in OutputTopic}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


def deployed(
    cluster: Cluster,
    brokers: Sequence[int],
    start: Start | None = "earliest",
    *,
    mode: Mode = "exactly_once",
    configs: Mapping[OutputTopic, Mapping[str, str]] | None = None,
) -> Deployment:
    return Deployment(
        cluster.first.bootstrap,
        start=start,
        delivery=IMPATIENT.model_copy(update={"mode": mode}),
        brokers=brokers,
        configs=configs,
    )


def outputs(deployment: Deployment) -> list[str]:
    return [deployment.topic(role) for role in OutputTopic]


def test_a_worker_follows_partitions_whose_leaders_move(cluster: Cluster) -> None:
    with deployed(cluster, [SECOND, FIRST]) as deployment, working(deployment) as worker:
        topics = [deployment.input, *outputs(deployment)]
        assert cluster.leaders(*topics) == {SECOND}
        deployment.produce(references("0"))
        worker.has_committed(1)
        cluster.lead(FIRST, *topics)
        deployment.produce(references("1"))
        worker.has_committed(2)
        assert classified(deployment) == ["0", "1"]


@pytest.mark.parametrize("mode", MODES)
def test_a_worker_follows_coordinators_that_move(cluster: Cluster, mode: Mode) -> None:
    cluster.lead(SECOND, GROUP_OFFSETS, TRANSACTIONS)
    with deployed(cluster, [FIRST], mode=mode) as deployment, working(deployment) as worker:
        deployment.produce(references("0"))
        worker.has_committed(1)
        for moves, leader in enumerate([FIRST, SECOND], start=1):
            cluster.lead(leader, GROUP_OFFSETS, TRANSACTIONS)
            deployment.produce(references(str(moves)))
            worker.has_committed(1 + moves)
        eventually(lambda: worker.available)
        assert classified(deployment) == ["0", "1", "2"]
        assert deployment.committed(0) == 3


def test_a_worker_outlives_the_broker_that_led_and_coordinated_everything(
    cluster: Cluster,
) -> None:
    with deployed(cluster, [SECOND, FIRST]) as deployment:
        cluster.lead(SECOND, GROUP_OFFSETS, TRANSACTIONS)
        with working(deployment) as worker:
            deployment.produce(references("before"))
            worker.has_committed(1)
            with cluster.killed():
                deployment.produce(references("after"))
                worker.has_committed(2)
                assert classified(deployment) == ["after", "before"]


def test_workers_wait_for_replicas_to_be_in_sync_and_are_not_ready(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "INTERRUPTED_S", 1.0)
    with contextlib.ExitStack() as running:
        deployments = [
            running.enter_context(
                deployed(cluster, [FIRST, SECOND], mode=mode, configs=TWO_IN_SYNC)
            )
            for mode in MODES
        ]
        workers = [running.enter_context(working(each)) for each in deployments]
        for deployment, worker in zip(deployments, workers, strict=True):
            deployment.produce(references("before"))
            worker.has_committed(1)
        with cluster.stopped():
            for deployment in deployments:
                deployment.produce(references("meanwhile"))
            for worker in workers:
                eventually(lambda w=worker: w.failed_commits > 0 and not w.available)  # type: ignore[misc]
                assert worker.committed == 1
        for deployment, worker in zip(deployments, workers, strict=True):
            worker.has_committed(2)
            eventually(lambda w=worker: w.available)  # type: ignore[misc]
            # Without transactions an outcome may be seen twice.
            assert {*classified(deployment)} == {"before", "meanwhile"}
            if deployment.delivery.mode == "exactly_once":
                assert len(classified(deployment)) == 2


def test_partitions_without_a_leader_are_waited_for_and_hold_no_others_up(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "INTERRUPTED_S", 1.0)
    monkeypatch.setattr(kafka_offsets, "OFFSETS_TIMEOUT_S", 1.0)
    with deployed(cluster, [SECOND]) as unwritable, deployed(cluster, [FIRST], None) as unreadable:
        cluster.lead(FIRST, unwritable.input)
        add_unreadable_partitions(unreadable)
        with cluster.stopped():
            assert cluster.leaders(*outputs(unwritable)) == {-1}
            assert cluster.leaders(unreadable.input) == {FIRST, -1}
            unwritable.produce(references("waits"))
            unreadable.produce(references("flows"))
            # Each may be stopped meanwhile.
            with working(unwritable) as worker, working(unreadable) as other:
                other.has_committed(1)
                eventually(lambda: worker.failed_commits > 0 and not worker.available)
                assert worker.committed == 0
            assert classified(unreadable) == ["flows"]
        with working(unwritable) as worker, working(unreadable) as other:
            worker.has_committed(1)
            other.has_committed(2)
            eventually(lambda: worker.available)
        assert classified(unwritable) == ["waits"]
        assert classified(unreadable) == ["flows", "fourth", "third"]


def add_unreadable_partitions(deployment: Deployment) -> None:
    """One whose offset the group knows, and one that is added after the group began."""
    for number, key in ((2, "third"), (3, "fourth")):
        added = {deployment.input: {"count": number + 1, "assignments": [[SECOND]]}}
        deployment.admin.client.create_partitions(added)
        deployment.initialise("earliest")
        deployment.produce(references(key), partition=number)
