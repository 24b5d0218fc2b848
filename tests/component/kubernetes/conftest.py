"""Clusters, and a namespace of a cluster for each test."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from deploy.dev import go_programs
from deploy.dev.cluster import build, clusters, keda, programs, simulation
from deploy.dev.cluster.clusters import Cluster
from deploy.dev.cluster.kubectl import Kubectl
from deploy.dev.cluster.node import image
from deploy.dev.cluster.node.probe import Refused
from deploy.dev.versitygw import VersityS3
from tests.rigs.kubernetes import results
from tests.rigs.kubernetes.namespaces import REPORTS, keep_evidence, own_namespace
from tests.rigs.kubernetes.release import Release
from tests.rigs.kubernetes.stream import PodStream, open_stream
from tests.rigs.kubernetes.traces import traces
from tests.rigs.services.broker_settings import IMPATIENT_BROKER
from tests.rigs.skips import NO_KUBELET, asked, may_start_a_node, skip_without_a_node
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.processes import ServiceError
from workers.embedded.s3 import S3Server
from workers.serve.admission.key_file import KeyEntry, new_key


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what the chosen tests need: the first time takes longer than a test may."""
    chosen = [item for item in session.items if not item.get_closest_marker("skip")]
    fixtures = {name for item in chosen for name in getattr(item, "fixturenames", ())}
    if session.config.option.collectonly or "cluster_programs" not in fixtures:
        return
    # What cannot be had is said by the fixture, to the tests that need it.
    with contextlib.suppress(ServiceError):
        go_programs.built(programs.EVERY_RUN)
        programs.custom_resources()
        if "keda_beside" in fixtures:
            go_programs.built(programs.ON_DEMAND)
        if "node_may_start" in fixtures and may_start_a_node():
            image.archive()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash.setdefault(REPORTS, {})[call.when] = report
    return report


@pytest.fixture(scope="session")
def cluster_programs() -> None:
    """Skips where the cluster's programs are not there and cannot be built."""
    if not programs.available():
        pytest.skip(f"{build.WHAT_IT_NEEDS}; install Go, then: make cluster-programs")


@pytest.fixture(scope="session")
def simulated_cluster(
    cluster_programs: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A real control plane with KubeRay's operator; kwok plays nodes and pods."""
    with clusters.simulated(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def keda_beside(simulated_cluster: Cluster) -> Iterator[None]:
    """KEDA beside the simulated cluster."""
    if not go_programs.available(programs.ON_DEMAND):
        pytest.skip(f"KEDA: {build.WHAT_IT_NEEDS}; install Go")
    with keda.beside(simulated_cluster):
        yield


@pytest.fixture(scope="session")
def node_may_start(cluster_programs: None) -> None:
    """Skips where nobody has asked for a real node, or none can run."""
    skip_without_a_node()


@pytest.fixture(scope="session")
def real_cluster(node_may_start: None) -> Iterator[Cluster]:
    """A control plane with KubeRay's operator and a real node."""
    try:
        with clusters.real() as cluster:
            yield cluster
        assert traces(cluster.folder) == []
    except Refused as refusal_of_a_node:
        pytest.skip(f"{NO_KUBELET}{refusal_of_a_node}")


@pytest.fixture(scope="session")
def kafka_for_pods(
    real_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedKafka]:
    """A real broker that pods of the real node reach, and tests too."""
    folder = tmp_path_factory.mktemp("kafka-for-pods")
    with EmbeddedKafka(folder, properties=IMPATIENT_BROKER, address=real_cluster.address) as broker:
        yield broker


@pytest.fixture(scope="session")
def s3_for_pods(
    real_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[S3Server]:
    """A real S3 server on the same address."""
    with VersityS3(tmp_path_factory.mktemp("s3-for-pods"), address=real_cluster.address) as server:
        yield server


@pytest.fixture
def simulated(simulated_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a namespace of the test's own, on nodes that are played."""
    yield from _namespace(simulated_cluster, request, played=True)


@pytest.fixture
def real(real_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a namespace of the test's own, on a real node."""
    yield from _namespace(real_cluster, request)


@pytest.fixture(scope="module")
def namespace(real_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a namespace of the module's own, on a real node, for its release."""
    with own_namespace(real_cluster, request.module.__name__.rpartition(".")[2]) as kubectl:
        yield kubectl


@pytest.fixture(scope="module")
def stream(
    namespace: Kubectl, kafka_for_pods: EmbeddedKafka, s3_for_pods: S3Server
) -> Iterator[PodStream]:
    """What the module's release works on."""
    with open_stream(namespace, kafka_for_pods, s3_for_pods) as opened:
        yield opened


@pytest.fixture(scope="module")
def key(namespace: Kubectl) -> str:
    """A client's key. Its digest is in the Secret `http-keys`, for servers; itself in `test-key`,
    for `helm test`."""
    key, key_id, digest = new_key()
    line = KeyEntry(id=key_id, name="test", sha256=digest).model_dump_json(exclude_defaults=True)
    for name, data in (("http-keys", {"keys": f"{line}\n"}), ("test-key", {"key": key})):
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
        namespace.apply({**secret, "stringData": data})
    return key


@pytest.fixture
def release(installed: Release, request: pytest.FixtureRequest) -> Iterator[Release]:
    """The release that the module's fixture ``installed`` has installed."""
    yield installed
    keep_evidence(request.node, installed.kubectl)


@pytest.fixture(scope="module")
def result(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What the module's tests have measured. It is written where the last one is committed, unless
    one of them has failed, or tests that run on demand were left out."""
    failed, measured = request.session.testsfailed, dict[str, Any]()
    yield measured
    if request.session.testsfailed == failed and asked():
        name = request.module.__name__.rpartition(".")[2].removeprefix("test_")
        print(f"written: {results.write(name, measured)}")


@pytest.fixture
def gpu_nodes(simulated: Kubectl) -> Iterator[list[str]]:
    """Names of three nodes that are played: one without GPUs, and two of four GPUs that admit only
    pods that tolerate it."""
    names = [f"{simulated.namespace}-{number}" for number in range(3)]
    for name, gpus in zip(names, (0, 4, 4), strict=True):
        taints = (simulation.GPU_TAINT,) if gpus else ()
        simulated.apply(simulation.node(name, gpus=gpus, taints=taints))
    simulated.wait("condition=Ready", *(f"node/{name}" for name in names))
    yield names
    simulated("delete", "node", *names)


def _namespace(
    cluster: Cluster, request: pytest.FixtureRequest, *, played: bool = False
) -> Iterator[Kubectl]:
    with own_namespace(cluster, request.node.name, played=played) as kubectl:
        yield kubectl
        keep_evidence(request.node, kubectl)
