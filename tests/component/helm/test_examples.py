"""What holds for every pod and every object, in each of the chart's complete examples."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.dev.reference.chart.values import read
from tests.rigs.charts import (
    CHART,
    EXAMPLES,
    Object,
    component,
    containers,
    environment,
    example,
    helm,
    kinds,
    objects,
    pods,
    rendered,
)
from workers.settings.loading import CATALOGUE, Settings

IDS = [path.name.removesuffix("-values.yaml") for path in EXAMPLES]

every_example = pytest.mark.parametrize("path", EXAMPLES, ids=IDS)

RUNS_WORKERS = {"driver", "worker", "serve", "backfill"}
"""Components whose pods have a model on a device."""


def values_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def test_each_case_has_its_example() -> None:
    assert set(IDS) == {
        "air-gapped",
        "cpu",
        "gpu",
        "kuberay",
        "mig",
        "minio",
        "msk-iam",
        "openshift",
        "shared-gpu",
        "spot",
    }


@every_example
def test_helm_finds_nothing_to_say(path: Path) -> None:
    done = helm("lint", "--strict", str(CHART), "--values", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


@every_example
def test_two_renderings_are_equal(path: Path) -> None:
    again = helm(
        *("template", "live", str(CHART), "--namespace", "images", "--values", str(path)),
    )
    assert again.stdout == rendered({}, files=[path])


OF_THE_MOMENT = re.compile(
    r"""(?<![\w.$])(
        lookup | getHostByName | now | ago | uuidv4 | shuffle
        | rand\w+ | gen(?:PrivateKey|CA|SelfSigned|Signed)\w*
        | bcrypt | htpasswd | encryptAES
    )\b""",
    re.VERBOSE,
)
"""Functions of Helm whose result is not made of the values alone. `helm template` has no cluster to
look up, so that equal renderings do not show a `lookup`."""


def of_the_moment(template: str) -> list[str]:
    """Such functions in the actions of a template. Comments and texts call none."""
    actions = re.findall(r"\{\{-?\s*(?!/\*)(.*?)\}\}", template, re.DOTALL)
    code = [re.sub(r'"(\\.|[^"\\])*"|`[^`]*`', '""', action) for action in actions]
    return [found for action in code for found in OF_THE_MOMENT.findall(action)]


def test_a_rendering_depends_on_the_values_alone() -> None:
    templates = [each for each in (CHART / "templates").rglob("*") if each.is_file()]
    assert len(templates) > 20
    found = {each.name: of_the_moment(each.read_text()) for each in templates}
    assert {name: functions for name, functions in found.items() if functions} == {}


@pytest.mark.parametrize(
    ("template", "function"),
    [
        ('{{ (lookup "v1" "Secret" .Release.Namespace "a").data }}', "lookup"),
        ("a: {{- if (lookup $version) }}{{ end }}", "lookup"),
        ("{{ randAlphaNum 8 | quote }}", "randAlphaNum"),
        ("{{ $id := uuidv4 }}", "uuidv4"),
        ('{{ $key := genPrivateKey "rsa" }}', "genPrivateKey"),
        ('{{ $ca :=\n  genCA "own" 365 }}', "genCA"),
        ('{{ genSelfSignedCert "a" nil nil 365 }}', "genSelfSignedCert"),
        ("{{ now | date }}", "now"),
        ("{{ .Values.list | shuffle }}", "shuffle"),
        ('{{ htpasswd "a" "b" }}', "htpasswd"),
    ],
)
def test_what_depends_on_more_is_found(template: str, function: str) -> None:
    assert of_the_moment(template) == [function]


@pytest.mark.parametrize(
    "template",
    [
        "{{/* now and lookup */}}",
        "lookup now",
        "{{ .Values.now }}",
        "{{ $now }}",
        '{{ fail "not now" }}',
    ],
)
def test_the_same_words_elsewhere_are_no_calls(template: str) -> None:
    assert of_the_moment(template) == []


@every_example
def test_each_mode_has_its_own_kinds(path: Path) -> None:
    values, found = values_of(path), kinds(example(path))
    stream = values.get("stream", {}).get("enabled", True)
    kuberay = values.get("mode") == "kuberay"
    assert ("RayCluster" in found) == kuberay
    assert ("StatefulSet" in found) == (stream and not kuberay)
    assert ("Deployment" in found) == (
        values.get("serve", {}).get("enabled", False) and not kuberay
    )


@every_example
def test_every_pod_is_restricted(path: Path) -> None:
    chosen_by_the_cluster = path.name == "openshift-values.yaml"
    for pod in pods(example(path)):
        spec = pod["spec"]
        security = spec.get("securityContext") or {}
        assert security["runAsNonRoot"] is True
        assert security.get("runAsUser") == (None if chosen_by_the_cluster else 1000)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not [each for each in spec["volumes"] if "hostPath" in each]
        for container in containers(pod):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}


@every_example
def test_every_container_says_what_it_needs(path: Path) -> None:
    for pod in pods(example(path)):
        for container in containers(pod):
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), container["name"]
            assert "memory" in resources["limits"], container["name"]


@every_example
def test_no_container_has_a_token_but_the_driver_for_its_stateful_set(path: Path) -> None:
    for pod in pods(example(path)):
        assert pod["spec"]["automountServiceAccountToken"] is False
        mounted = [
            container["name"]
            for container in containers(pod)
            for mount in container["volumeMounts"]
            if mount["name"] == "kubernetes"
        ]
        assert mounted == (["driver"] if component(pod) == "driver" else [])


@every_example
def test_services_become_no_variables(path: Path) -> None:
    """CLIPSTREAM_DRIVER_SERVICE_HOST would be an unknown setting, and no driver would start."""
    assert all(pod["spec"]["enableServiceLinks"] is False for pod in pods(example(path)))


@every_example
def test_gpus_are_of_pods_with_workers_alone(path: Path) -> None:
    for pod in pods(example(path)):
        for container in containers(pod):
            limits = container["resources"]["limits"]
            gpus = [name for name in limits if name.startswith("nvidia.com/")]
            hidden = environment(container).get("NVIDIA_VISIBLE_DEVICES") == "void"
            assert hidden == (not gpus), container["name"]
            if gpus:
                assert component(pod) in RUNS_WORKERS
                assert container["name"] in {"driver", "ray-worker", "serve", "backfill"}
                assert container["resources"]["requests"][gpus[0]] == limits[gpus[0]]
            if component(pod) == "head":
                assert not gpus


@every_example
def test_every_mount_has_its_volume(path: Path) -> None:
    for pod in pods(example(path)):
        there = {each["name"] for each in pod["spec"]["volumes"]}
        for container in containers(pod):
            mounts = [each["mountPath"] for each in container["volumeMounts"]]
            assert len(set(mounts)) == len(mounts)
            missing = {each["name"] for each in container["volumeMounts"]} - there
            assert missing <= ({"cache"} if path.name == "gpu-values.yaml" else set())


@every_example
def test_every_pod_uses_the_image_with_its_pull_secrets(path: Path) -> None:
    values = values_of(path)
    for pod in pods(example(path)):
        wanted = [{"name": each} for each in values.get("global", {}).get("imagePullSecrets", ())]
        assert pod["spec"].get("imagePullSecrets", []) == wanted
        images = {container["image"] for container in containers(pod)}
        if "global" in values:
            digest = values["image"]["digest"]
            assert images == {f"registry.example.com/platform/clipstream@{digest}"}
        else:
            assert images == {"clipstream:0.1.0"}


@every_example
def test_every_selector_finds_the_pods_that_it_means(path: Path) -> None:
    manifest = example(path)
    labels = [pod["metadata"]["labels"] for pod in pods(manifest) if pod.get("kind") != "Pod"]
    for each in manifest:
        for selector in selectors(each):
            assert any(selector.items() <= found.items() for found in labels), (
                f"{each['kind']} {each['metadata']['name']} selects {selector}"
            )


def selectors(each: Object) -> list[Mapping[str, str]]:
    spec = each.get("spec", {})
    if each["kind"] == "Service":
        return [spec["selector"]]
    if each["kind"] in ("StatefulSet", "Deployment"):
        spread = spec["template"]["spec"].get("topologySpreadConstraints", ())
        return [
            spec["selector"]["matchLabels"],
            *(s["labelSelector"]["matchLabels"] for s in spread),
        ]
    if each["kind"] == "PodDisruptionBudget":
        return [spec["selector"]["matchLabels"]]
    return []


@every_example
def test_no_budget_holds_a_pod_that_is_not_ready(path: Path) -> None:
    budgets = [each for each in example(path) if each["kind"] == "PodDisruptionBudget"]
    assert budgets
    assert {each["spec"]["unhealthyPodEvictionPolicy"] for each in budgets} == {"AlwaysAllow"}


@every_example
def test_a_stateful_sets_own_pods_match_its_selector(path: Path) -> None:
    for each in example(path):
        if each["kind"] in ("StatefulSet", "Deployment"):
            wanted = each["spec"]["selector"]["matchLabels"]
            assert wanted.items() <= each["spec"]["template"]["metadata"]["labels"].items()


@every_example
def test_every_variable_of_a_setting_is_one(path: Path) -> None:
    known = {setting.variable for setting in CATALOGUE.settings.values()}
    for pod in pods(example(path)):
        for container in containers(pod):
            ours = {name for name in environment(container) if name.startswith("CLIPSTREAM_")}
            assert ours <= known


@every_example
def test_secrets_are_named_and_never_made(path: Path) -> None:
    manifest = example(path)
    assert "Secret" not in kinds(manifest)
    named = {text for _, text in leaves(values_of(path).get("secrets", {}))}
    for pod in pods(manifest):
        for container in containers(pod):
            for name, source in environment(container).items():
                if isinstance(source, dict) and "secretKeyRef" in source:
                    own = {"live-clipstream"} if name == "RAY_AUTH_TOKEN" else set()
                    assert source["secretKeyRef"]["name"] in named | own


@every_example
def test_names_leave_room_for_what_controllers_add(path: Path) -> None:
    manifest = objects(
        files=[path], values={}, release="a-release-with-a-name-that-is-as-long-as-helm-allows"
    )
    for each in manifest:
        name = each["metadata"]["name"]
        most = {"StatefulSet": 52, "CronJob": 52, "RayJob": 47, "RayCluster": 50}
        assert len(name) <= most.get(each["kind"], 63)
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)
        assert each["metadata"]["namespace"] == "images"


@every_example
def test_names_of_the_objects_differ(path: Path) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in example(path)]
    assert len(set(names)) == len(names)


@every_example
def test_the_settings_files_are_as_the_product_reads_them(path: Path) -> None:
    files = [
        yaml.safe_load(each["data"]["settings.yaml"])
        for each in example(path)
        if each["kind"] == "ConfigMap" and "settings.yaml" in each["data"]
    ]
    assert files
    for file in files:
        secrets = file.get("kafka", {}).get("security", {})
        if secrets.get("sasl_mechanism", "").startswith("SCRAM"):
            secrets |= {"username": "of the Secret", "password": "of the Secret"}
        settings = Settings.model_validate(file)
        assert settings.endpoints.host == "0.0.0.0"
        assert settings.log.format == "json"


def leaves(node: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(node, dict):
        return [
            leaf
            for key, each in node.items()
            for leaf in leaves(each, f"{prefix}.{key}".lstrip("."))
        ]
    return [(prefix, node)]


@every_example
def test_the_example_writes_no_default(path: Path) -> None:
    values = read()
    repeated = {
        name
        for name, given in leaves(values_of(path))
        if name in values and not values[name].section and values[name].default == given
    }
    assert repeated == set()
