"""What holds for every object and every pod, with all parts of the chart switched on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.rigs.charts import Object, all_parts, containers, environment, objects, pods

MODES = ("deployment", "kuberay")
DIGEST = f"sha256:{'0' * 64}"


def described(node: Any, path: str = "") -> Iterator[tuple[str, Object]]:
    """The `metadata` of every object and of every template in it, with where it stands."""
    if isinstance(node, dict):
        if isinstance(node.get("metadata"), dict):
            yield path, node["metadata"]
        for name, each in node.items():
            yield from described(each, f"{path}/{name}")
    elif isinstance(node, list):
        for each in node:
            yield from described(each, path)


@pytest.mark.parametrize("mode", MODES)
def test_labels_and_annotations_of_a_persons_own_are_on_every_object_and_template(
    mode: str,
) -> None:
    manifest = objects(
        all_parts(mode, commonLabels={"team": "safety"}, commonAnnotations={"cost": "7"})
    )
    for each in manifest:
        for path, metadata in described(each, each["kind"]):
            # Kubernetes refuses every change of these, so they have no label that may change.
            if path == "StatefulSet/spec/volumeClaimTemplates":
                continue
            assert metadata["labels"]["team"] == "safety", path
            assert metadata["annotations"]["cost"] == "7", path


@pytest.mark.parametrize("mode", MODES)
def test_every_pod_comes_from_the_registry_by_its_digest_with_the_pull_secrets(mode: str) -> None:
    given: dict[str, Any] = {
        "global": {"imageRegistry": "registry.example.com", "imagePullSecrets": ["everywhere"]},
        "image": {"digest": DIGEST, "pullSecrets": ["own"]},
    }
    found = list(pods(objects(all_parts(mode, **given))))
    assert len(found) > 5
    for pod in found:
        assert pod["spec"]["imagePullSecrets"] == [{"name": "everywhere"}, {"name": "own"}]
        assert {it["image"] for it in containers(pod)} == {
            f"registry.example.com/clipstream@{DIGEST}"
        }


@pytest.mark.parametrize("mode", MODES)
def test_two_releases_in_one_namespace_share_no_object(mode: str) -> None:
    first, second = (
        {
            (each["kind"], each["metadata"]["name"])
            for each in objects(all_parts(mode), release=release)
        }
        for release in ("live", "archive")
    )
    assert not first & second
    assert len(first) == len(second) > 15


@pytest.mark.parametrize("mode", MODES)
def test_what_a_compiler_makes_is_kept_on_the_volume_of_the_cache(mode: str) -> None:
    """In every container: each may load the model, or start a process that does."""
    for pod in pods(objects(all_parts(mode, cache={}))):
        given = {it["name"] for it in pod["spec"]["volumes"]}
        for container in containers(pod):
            variables = environment(container)
            kept = {variables.get(f"{what}_CACHE_DIR") for what in ("TORCHINDUCTOR", "TRITON")}
            assert kept == {"/cache/inductor", "/cache/triton"}
            mounts = {it["mountPath"]: it["name"] for it in container["volumeMounts"]}
            assert mounts["/cache"] in given
