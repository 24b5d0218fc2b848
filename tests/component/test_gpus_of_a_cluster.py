"""What workers are given of a Ray cluster's GPUs, and see of them. Ray counts what it is told to:
no GPU is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from pydantic import SecretStr
from ray.core.generated import autoscaler_pb2

from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.adapters.kafka.security.policy import KafkaSecurity
from pipeline.adapters.s3.policy import S3Policy
from tests.component import seeing_worker
from tests.rigs.root import ROOT
from tests.rigs.services.ray_nodes import ray_nodes
from tests.rigs.waiting import eventually
from workers.cluster.actors import Cluster
from workers.cluster.handle import RayWorker
from workers.cluster.reservation import Room
from workers.cluster.resources import resources_of_cluster
from workers.settings.catalogue import variable_of
from workers.settings.loading import Settings
from workers.settings.workers import WorkersPolicy

pytestmark = pytest.mark.component

PASSWORD = variable_of("kafka.security.password")
DEVICES = ["6", "7"]
"""Of the first node. The second has one that it does not lend: Ray counts no GPU there."""
CPUS = 4
START_S = 60.0


@pytest.fixture(scope="module")
def nodes() -> Iterator[dict[str, str]]:
    """A cluster of two nodes, its address in RAY_ADDRESS; their ids by their names."""
    # Ray's processes have the environment of their node, and must find the tests.
    with (
        ray_nodes({"PYTHONPATH": str(ROOT)}) as cluster,
        pytest.MonkeyPatch.context() as environment,
    ):
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(DEVICES), PASSWORD: "of the node"}
        with_gpus = cluster.add(visible, num_cpus=CPUS, num_gpus=len(DEVICES))
        without = cluster.add({"CUDA_VISIBLE_DEVICES": "3"}, num_cpus=CPUS, num_gpus=0)
        environment.setenv("RAY_ADDRESS", cluster.address)
        yield {"gpus": with_gpus.id, "no gpus": without.id}


class Fleet:
    """Workers that note what they see."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        build = partial(seeing_worker.build, folder)
        self.workers: list[RayWorker] = [
            cluster.launch(build, slot) for slot in range(cluster.settings.workers.count)
        ]
        self._begun: set[int] = set()

    def seen(self) -> dict[str, dict[str, Any]]:
        """What those that have started saw, by slot."""
        return {
            path.name: json.loads(path.read_text())
            for path in self.folder.iterdir()
            if not path.suffix
        }

    def started(self, number: int) -> list[dict[str, Any]]:
        def as_many() -> bool:
            for slot, worker in enumerate(self.workers):
                if slot not in self._begun and worker.node() is not None:
                    worker.begin()
                    self._begun.add(slot)
            return len(self.seen()) == number

        eventually(as_many, START_S)
        return list(self.seen().values())

    def stop(self, slot: int) -> None:
        self.workers[slot].stop(1.0)
        eventually(lambda: self.workers[slot].ended() is not None, START_S)


@contextmanager
def fleet(folder: Path, **workers: Any) -> Iterator[Fleet]:
    settings = Settings(s3=S3Policy(allowed_buckets=("photos",)), workers=WorkersPolicy(**workers))
    joined = Cluster(settings)
    try:
        yield Fleet(joined, folder)
    finally:
        joined.close()


def test_by_default_each_worker_has_a_gpu_and_one_too_many_waits_for_it(
    nodes: dict[str, str], tmp_path: Path
) -> None:
    with fleet(tmp_path, count=3) as workers:
        seen = workers.started(2)
        assert sorted(each["visible"] for each in seen) == DEVICES
        for each in seen:
            assert each["reserved"] == [each["visible"]]
            assert each["node"] == nodes["gpus"]
            assert (each["device"], each["gpus"], each["cpus"]) == ("cuda", 1.0, 2.0)
            assert each["max_size"] == 128
        (waiting,) = {"0", "1", "2"} - set(workers.seen())
        assert workers.workers[int(waiting)].ended() is None
        first = next(iter(workers.seen()))
        freed = workers.seen()[first]["visible"]
        workers.stop(int(first))
        workers.started(3)
        # It came neither to a CPU nor to a device that another worker has.
        late = workers.seen()[waiting]
        assert (late["device"], late["visible"]) == ("cuda", freed)


def test_two_workers_share_a_device_where_each_asks_for_half(
    nodes: dict[str, str], tmp_path: Path
) -> None:
    with fleet(tmp_path, count=4, gpus_per_worker=0.5) as workers:
        seen = workers.started(4)
        assert sorted(each["visible"] for each in seen) == ["6", "6", "7", "7"]
        assert {(each["device"], each["cpus"]) for each in seen} == {("cuda", 1.0)}


def test_a_worker_without_a_gpu_sees_none_on_any_node(
    nodes: dict[str, str], tmp_path: Path
) -> None:
    """Ray itself hides nothing from it: the nodes' own devices would be there."""
    with fleet(tmp_path, count=4, gpus_per_worker=0) as workers:
        seen = workers.started(4)
        assert {each["node"] for each in seen} == set(nodes.values())
        assert {each["visible"] for each in seen} == {""}
        assert not any(each["torch"] for each in seen)
        assert {(each["device"], each["max_size"]) for each in seen} == {("cpu", 32)}


def test_what_an_autoscaler_reports_is_known(nodes: dict[str, str], tmp_path: Path) -> None:
    with fleet(tmp_path, count=1, gpus_per_worker=0):
        assert resources_of_cluster().addable == ()
        config: Any = vars(autoscaler_pb2)["ClusterConfig"]()
        for name, gpus, most in (("cpu", 0, 2), ("gpu", 8, -1), ("none", 4, 0)):
            group = config.node_group_configs.add(name=name, max_count=most)
            group.resources.update({"CPU": 16, "GPU": gpus} if gpus else {"CPU": 16})
        client: Any = vars(ray._raylet)["GcsClient"]
        gcs = client(address=ray.get_runtime_context().gcs_address)
        gcs.report_cluster_config(config.SerializeToString())
        assert resources_of_cluster().addable == (Room(16.0, 0.0), Room(16.0, 8.0))


def test_a_worker_has_the_secrets_of_its_node_and_not_those_of_its_driver(
    nodes: dict[str, str], tmp_path: Path
) -> None:
    security = KafkaSecurity(
        protocol="SASL_SSL", sasl_mechanism="PLAIN", username="u", password=SecretStr("driver's")
    )
    settings = Settings(
        s3=S3Policy(allowed_buckets=("photos",)),
        kafka=KafkaPolicy(security=security),
        workers=WorkersPolicy(count=1, gpus_per_worker=1),
    )
    joined = Cluster(settings)
    try:
        workers = Fleet(joined, tmp_path)
        (seen,) = workers.started(1)
        assert (seen["node"], seen["password"]) == (nodes["gpus"], "of the node")
    finally:
        joined.close()
