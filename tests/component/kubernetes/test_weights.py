"""Each source of a model's weights on the real node: a pod takes them from there, and an image is
classified with them.

Each test installs a release of its own, and removes it.
"""

from __future__ import annotations

import copy
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.dev.cluster.clusters import Cluster
from deploy.dev.cluster.kubectl import Kubectl, KubectlError
from deploy.dev.cluster.node import mounted_code
from deploy.dev.cluster.node.kubelet import import_images
from deploy.dev.image import ImageError, engine, project_version
from pipeline.adapters.clip.checkpoint import from_directory, relevant_files
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.policy import S3Policy
from tests.rigs.kubernetes.namespaces import keep_evidence
from tests.rigs.kubernetes.release import NAME, OBJECTS, READY_S, Release, chart_values, end
from tests.rigs.kubernetes.stream import PodStream
from tests.rigs.root import ROOT
from tests.rigs.services.model_hub import ModelHub
from tests.rigs.waiting import eventually
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.s3 import S3Server

pytestmark = [
    pytest.mark.component,
    pytest.mark.kubelet,
    pytest.mark.on_demand("make cluster-tests"),
    pytest.mark.timeout(900),
]

MODEL = ROOT / "workers/demo/model"
FILES = {file.name for file in relevant_files(MODEL)}
REVISION = from_directory("model", MODEL).revision

ON_HUB, COMMIT, TOKEN = "acme/shapes", "0123456789abcdef" * 2 + "01234567", "hub-token"

PICKLE = "pytorch_model.bin"
"""A file of many checkpoints that nobody may load."""

POD = f"{OBJECTS}-0"

Started = Callable[[str], tuple[str, str]]

BUILT = f"clipstream:{project_version()}-weights"
"""The whole image with these weights, as `make image-tests` leaves it."""

IMPORT_S = 900.0


@pytest.fixture
def values(
    kafka_for_pods: EmbeddedKafka, s3_for_pods: S3Server, stream: PodStream
) -> dict[str, Any]:
    """The chart's values, for a test to change."""
    return copy.deepcopy(chart_values(kafka_for_pods, s3_for_pods, stream))


@pytest.fixture
def started(
    namespace: Kubectl,
    stream: PodStream,
    values: dict[str, Any],
    result: dict[str, Any],
    request: pytest.FixtureRequest,
) -> Iterator[Started]:
    """Install a release whose weights come from the source that is given. Returns the name and the
    revision of the model in the first outcome."""
    release = Release(namespace, values)

    def start(source: str) -> tuple[str, str]:
        assert values["model"]["source"] == source
        (sent,) = stream.send(1)
        with release.install() as running:
            stream.until_all()
            end(running)
        ((_, published),) = stream.published([sent]).values()
        (pod,) = release.pods("driver").values()
        # A pod is Pending from its creation on. Kubernetes tells whole seconds.
        created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
        waited = result.setdefault("pending_to_first_outcome_s", {})
        waited[source] = round(published - created.timestamp())
        return stream.models[sent]

    yield start
    keep_evidence(request.node, namespace)
    release.helm("uninstall", NAME, "--ignore-not-found", "--wait", "--timeout", "5m")
    # Helm does not wait for the pods, and an old one would classify the next test's image.
    eventually(lambda: release.pods("driver") == {}, READY_S, interval_s=0.5)


def listed(kubectl: Kubectl, directory: str) -> set[str]:
    """Names of all files in a directory of the pod."""
    return set(kubectl("exec", POD, "--", "ls", "-A", directory).split())


def test_weights_of_the_image_are_loaded(started: Started, values: dict[str, Any]) -> None:
    assert started("baked") == ("model", REVISION)


@pytest.mark.timeout(2400)
def test_weights_of_the_whole_image_are_loaded_and_nothing_is_mounted(
    started: Started, values: dict[str, Any], real_cluster: Cluster, tmp_path: Path
) -> None:
    """The image of deploy/Dockerfile, with weights as the example baked.Dockerfile puts them there.
    Its time takes the place of the thin image's."""
    try:
        builder = engine()
        runner = "podman" if builder == "buildah" else builder
        saved = subprocess.run(
            [runner, "save", "--output", str(tmp_path / "image.tar"), BUILT],
            capture_output=True,
            text=True,
            check=False,
        )
    except ImageError as problem:
        pytest.skip(f"{problem}; then: make image-tests")
    if saved.returncode:
        pytest.skip(f"{BUILT} is not there ({saved.stderr.strip()}); type: make image-tests")
    import_images(real_cluster.folder, tmp_path / "image.tar", IMPORT_S)
    (tmp_path / "image.tar").unlink()
    registry = "docker.io/library" if runner == "docker" else "localhost"
    repository, _, tag = BUILT.partition(":")
    values["image"] |= {"repository": f"{registry}/{repository}", "tag": tag}
    del values["extraVolumes"], values["extraVolumeMounts"]
    values["model"] = {"source": "baked", "directory": "/models/clip"}
    assert started("baked") == ("clip", REVISION)


def test_weights_of_a_volume_are_only_read(
    started: Started, values: dict[str, Any], namespace: Kubectl, tmp_path: Path
) -> None:
    shutil.copytree(MODEL, tmp_path / "models/clip")
    mounted_code.provide(namespace, models=tmp_path / "models")
    claim = {"persistentVolumeClaim": {"claimName": "models", "readOnly": True}}
    values["model"] = {"source": "volume", "directory": "clip", "volume": claim}
    assert started("volume") == ("clip", REVISION)
    with pytest.raises(KubectlError, match="Read-only file system"):
        namespace("exec", POD, "--", "touch", "/models/clip/new")


def test_weights_of_a_bucket_are_copied_and_nothing_else(
    started: Started, values: dict[str, Any], namespace: Kubectl, stream: PodStream
) -> None:
    # A bucket of its own, which no message may name.
    bucket = f"{namespace.namespace}-models"
    with closing(S3Admin(S3Policy.model_validate(stream.settings["s3"]))) as admin:
        admin.create_bucket(bucket)
        for file in MODEL.iterdir():
            admin.put(bucket, f"clip/{file.name}", file.read_bytes())
        admin.put(bucket, f"clip/{PICKLE}", b"would run code")
    values["model"] = {"source": "s3", "uri": f"s3://{bucket}/clip", "revision": REVISION}
    assert started("s3") == ("checkpoint", REVISION)
    assert REVISION in namespace("logs", POD, "-c", "model")
    assert listed(namespace, "/models") == {"checkpoint"}
    assert listed(namespace, "/models/checkpoint") == FILES
    with pytest.raises(KubectlError, match="Read-only file system"):
        namespace("exec", POD, "--", "touch", "/models/checkpoint/new")


def test_weights_of_a_hub_are_downloaded_from_a_mirror_with_the_token(
    started: Started, values: dict[str, Any], namespace: Kubectl, real_cluster: Cluster
) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hub"}}
    namespace.apply({**secret, "stringData": {"token": TOKEN}})
    files = {file.name: file.read_bytes() for file in MODEL.iterdir()} | {PICKLE: b"would run code"}
    with closing(ModelHub(ON_HUB, COMMIT, files, real_cluster.address, TOKEN)) as mirror:
        values["model"] = {"source": "hub"}
        values["settings"]["model"] |= {"name": ON_HUB, "revision": COMMIT}
        values["secrets"]["hub"] = {"name": "hub"}
        values["extraEnv"] = [{"name": "HF_ENDPOINT", "value": mirror.endpoint}]
        assert started("hub") == (ON_HUB, COMMIT)
    cached = f"/cache/huggingface/hub/models--{ON_HUB.replace('/', '--')}/snapshots/{COMMIT}"
    assert listed(namespace, cached) == FILES
