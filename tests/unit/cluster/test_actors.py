"""What the driver asks of Ray, over a Ray that notes it."""

from __future__ import annotations

import importlib
import socket
import sys
from typing import Any

import pytest

from pipeline.adapters.kafka.policy import KafkaPolicy
from pipeline.adapters.s3.policy import S3Policy
from workers.cluster.actors import Cluster
from workers.settings.loading import Settings
from workers.settings.workers import WorkersPolicy


class NotingRay:
    """As much of Ray's module as starting a worker uses."""

    def __init__(self) -> None:
        self.initialised: dict[str, Any] = {}
        self.actors: list[dict[str, Any]] = []
        self.gpus: dict[str, float] = {}
        self.cluster: dict[str, bool] = {"here": True, "gone": False}
        """Whether each node is alive, by its id."""

    def init(self, **options: Any) -> None:
        self.initialised = options

    def remote(self, actor: object) -> NotingRay:
        return self

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {
                "NodeID": node,
                "NodeManagerHostname": f"host-{node[:1]}",
                "Alive": alive,
                "Resources": {"CPU": 16.0} | self.gpus if alive else {"CPU": 99.0, "GPU": 99.0},
            }
            for node, alive in self.cluster.items()
        ]

    def options(self, **options: Any) -> _Actor:
        self.actors.append(options)
        return _Actor()


class _Actor:
    """Its methods, and itself, are called and answer nothing."""

    def __getattr__(self, name: str) -> _Actor:
        return self

    def remote(self, *_: object) -> _Actor:
        return self


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> NotingRay:
    importlib.import_module("ray.util.scheduling_strategies")  # it stays Ray's own
    noting = NotingRay()
    monkeypatch.setitem(sys.modules, "ray", noting)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return noting


def settings_of(**workers: float) -> Settings:
    return Settings(
        s3=S3Policy(allowed_buckets=("photos",)), workers=WorkersPolicy.model_validate(workers)
    )


@pytest.mark.parametrize(("gpus", "share", "cpus"), [(0.0, 0.0, 1.0), (8.0, 1.0, 2.0)])
def test_by_default_the_cluster_decides_what_each_worker_asks_for(
    gpus: float, share: float, cpus: float, ray: NotingRay
) -> None:
    ray.gpus = {"GPU": gpus} if gpus else {}
    cluster = Cluster(settings_of(count=2))
    cluster.launch(lambda *_: None, 0)  # type: ignore[arg-type]
    (actor,) = ray.actors
    assert (actor["num_gpus"], actor["num_cpus"]) == (share, cpus)
    assert cluster.settings.workers.gpus_per_worker == share
    assert cluster.settings.model.device == ("cuda" if share else "cpu")


@pytest.mark.parametrize("share", [0.25, 0.5, 1])
def test_the_share_of_a_gpu_reaches_ray_which_puts_workers_together(
    share: float, ray: NotingRay
) -> None:
    cluster = Cluster(settings_of(count=2, gpus_per_worker=share, cpus_per_worker=3))
    for slot in range(2):
        cluster.launch(lambda *_: None, slot)  # type: ignore[arg-type]
    assert [actor["num_gpus"] for actor in ray.actors] == [share, share]
    assert [actor["num_cpus"] for actor in ray.actors] == [3, 3]


def test_workers_on_all_machines_have_the_name_of_their_driver(ray: NotingRay) -> None:
    """Each machine's own name would make another member of the group."""
    assert Cluster(settings_of()).settings.kafka.instance == socket.gethostname()
    kafka = KafkaPolicy(instance="live")
    assert Cluster(Settings(kafka=kafka)).settings.kafka.instance == "live"


def test_ray_restarts_no_worker_by_itself(ray: NotingRay) -> None:
    Cluster(settings_of()).launch(lambda *_: None, 0)  # type: ignore[arg-type]
    (actor,) = ray.actors
    assert (actor["max_restarts"], actor["max_task_retries"]) == (0, 0)


def test_a_ray_of_its_own_has_room_for_the_most_workers(ray: NotingRay) -> None:
    Cluster(settings_of(count=2, max_count=500, cpus_per_worker=1.5))
    assert ray.initialised["num_cpus"] == 750


A, B, C = ("a" * 56, "b" * 56, "c" * 56)


def strategy(ray: NotingRay, avoid: set[str], **nodes: bool) -> Any:
    ray.cluster = {name * 56: alive for name, alive in nodes.items()}
    Cluster(settings_of()).launch(lambda *_: None, 0, frozenset(avoid))  # type: ignore[arg-type]
    return ray.actors[-1]["scheduling_strategy"]


def test_a_worker_is_put_softly_on_a_node_that_is_not_to_be_avoided(ray: NotingRay) -> None:
    chosen = strategy(ray, {A}, a=True, b=True, c=False)
    assert (chosen.node_id, chosen.soft, chosen._spill_on_unavailable) == (B, True, True)


def test_a_node_without_what_is_reserved_is_not_preferred(ray: NotingRay) -> None:
    ray.cluster = {A: True, B: True}
    cluster = Cluster(settings_of(cpus_per_worker=17))
    cluster.launch(lambda *_: None, 0, frozenset({A}))  # type: ignore[arg-type]
    assert ray.actors[-1]["scheduling_strategy"] == "SPREAD", "no node has 17 CPUs"


@pytest.mark.parametrize("avoid", [set(), {A, B}, {A, B, C}])
def test_where_no_node_is_better_a_worker_goes_anywhere(avoid: set[str], ray: NotingRay) -> None:
    assert strategy(ray, avoid, a=True, b=True) == "SPREAD"


@pytest.mark.parametrize(("gpus", "wants"), [(0, "2 CPU"), (0.5, "2 CPU and 0.5 GPU")])
def test_a_worker_says_what_it_waits_for(gpus: float, wants: str, ray: NotingRay) -> None:
    cluster = Cluster(settings_of(gpus_per_worker=gpus, cpus_per_worker=2))
    assert cluster.launch(lambda *_: None, 0).wants == wants  # type: ignore[arg-type]
