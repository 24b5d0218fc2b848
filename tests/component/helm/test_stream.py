"""Mode deployment: a StatefulSet of drivers, its names, its end, and what it reads."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.rigs.charts import (
    Object,
    component,
    containers,
    environment,
    kinds,
    objects,
    one,
    pods,
    refusal,
    small,
)
from tests.rigs.command_line import parsed

REVISION = f"sha256:{7:064x}"


def driver(manifest: list[Object]) -> Object:
    container: Object
    (container,) = one(manifest, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    return container


def test_a_driver_keeps_its_name_and_so_its_partitions() -> None:
    manifest = objects()
    assert environment(driver(manifest))["CLIPSTREAM_KAFKA__INSTANCE"] == {
        "fieldRef": {"fieldPath": "metadata.name"}
    }
    assert one(manifest, "StatefulSet")["spec"]["podManagementPolicy"] == "Parallel"


def test_a_name_for_all_drivers_is_refused() -> None:
    assert "the chart names each driver" in refusal(small(settings={"kafka": {"instance": "one"}}))


def test_the_kubelet_reaches_the_driver_and_lets_it_start() -> None:
    manifest = objects()
    settings = yaml.safe_load(
        one(manifest, "ConfigMap", "live-clipstream-settings")["data"]["settings.yaml"]
    )
    assert settings["endpoints"]["host"] == "0.0.0.0"
    container = driver(manifest)
    startup = container["startupProbe"]
    assert startup["httpGet"] == {"path": "/healthz", "port": "health"}
    assert startup["periodSeconds"] * startup["failureThreshold"] == 300
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["readinessProbe"]["periodSeconds"] == 2
    assert container["ports"] == [{"name": "health", "containerPort": 8080}]


def test_the_ports_follow_the_settings() -> None:
    manifest = objects(small(settings={"endpoints": {"health_port": 8090}}))
    assert driver(manifest)["ports"][0]["containerPort"] == 8090
    assert one(manifest, "Service")["spec"]["ports"][0]["port"] == 8090


@pytest.mark.parametrize(("grace", "seconds"), [(None, 60), (0.5, 31), (40, 70)])
def test_a_pod_has_longer_than_its_workers(grace: float | None, seconds: int) -> None:
    settings = {} if grace is None else {"workers": {"grace_s": grace}}
    pod = one(objects(small(settings=settings)), "StatefulSet")["spec"]["template"]
    assert pod["spec"]["terminationGracePeriodSeconds"] == seconds


def test_a_pod_with_less_time_than_its_workers_is_refused() -> None:
    given = small(
        settings={"workers": {"grace_s": 40}}, workers={"terminationGracePeriodSeconds": 69}
    )
    assert "write 70 or more" in refusal(given)
    given["workers"]["terminationGracePeriodSeconds"] = 70
    assert objects(given)


def test_a_driver_may_read_its_stateful_set_alone() -> None:
    manifest = objects()
    assert one(manifest, "Role")["rules"] == [
        {
            "apiGroups": ["apps"],
            "resources": ["statefulsets"],
            "resourceNames": ["live-clipstream"],
            "verbs": ["get"],
        }
    ]
    (subject,) = one(manifest, "RoleBinding")["subjects"]
    assert subject["name"] == one(manifest, "ServiceAccount")["metadata"]["name"]
    variables = environment(driver(manifest))
    assert variables["CLIPSTREAM_KUBERNETES__STATEFULSET"] == "live-clipstream"
    folder = variables["CLIPSTREAM_KUBERNETES__TOKEN_FOLDER"]
    assert folder in {each["mountPath"] for each in driver(manifest)["volumeMounts"]}


def test_without_scale_in_nothing_asks_the_api() -> None:
    manifest = objects(small(scaleIn={"enabled": False}))
    assert not {"Role", "RoleBinding"} & kinds(manifest)
    assert not [name for name in environment(driver(manifest)) if "KUBERNETES" in name]
    assert not [
        each for pod in pods(manifest) for each in pod["spec"]["volumes"] if "projected" in each
    ]


def test_settings_restart_pods_and_label_sets_do_not() -> None:
    def template(**more: Any) -> Object:
        found: Object = one(objects(small(**more)), "StatefulSet")["spec"]["template"]
        return found

    before = template()
    assert template(labelSets={"files": {"shapes": "name: other\n"}}) == before
    assert template(settings={"log": {"level": "debug"}}) != before


def test_several_kinds_of_gpus_are_several_stateful_sets() -> None:
    groups = [
        {"name": "h100", "replicas": 7, "gpu": {"count": 1, "resource": "nvidia.com/mig-1g.10gb"}},
        {"name": "l4", "gpu": {"count": 2}},
    ]
    manifest = objects(small(groups=groups, workers={"replicas": 3}))
    sets = {
        each["metadata"]["name"]: each["spec"] for each in manifest if each["kind"] == "StatefulSet"
    }
    assert {name: spec["replicas"] for name, spec in sets.items()} == {
        "live-clipstream-h100": 7,
        "live-clipstream-l4": 3,
    }
    limits = [
        spec["template"]["spec"]["containers"][0]["resources"]["limits"] for spec in sets.values()
    ]
    assert limits[0]["nvidia.com/mig-1g.10gb"] == 1
    assert limits[1]["nvidia.com/gpu"] == 2
    assert one(manifest, "Role")["rules"][0]["resourceNames"] == list(sets)
    selectors = [spec["selector"]["matchLabels"] for spec in sets.values()]
    assert selectors[0] != selectors[1]


@pytest.mark.parametrize(
    ("settings", "gpus", "words"),
    [
        ({"workers": {"count": 3, "gpus_per_worker": 0.5}}, 1, "do not fit"),
        ({"workers": {"max_count": 3, "gpus_per_worker": 0.5}}, 1, "do not fit"),
        ({"workers": {"count": 3, "gpus_per_worker": 0.5}}, 0, "ask for a GPU"),
        ({"model": {"device": "cuda"}}, 0, "ask for a GPU"),
        ({"workers": {"count": 3, "gpus_per_worker": 0.5}}, 2, None),
        ({"workers": {"count": 3, "gpus_per_worker": 0.33}}, 1, None),
        ({"workers": {"count": 3, "gpus_per_worker": "auto"}}, 1, None),
        ({"workers": {"count": 3, "gpus_per_worker": 0}}, 0, None),
    ],
)
def test_workers_that_would_wait_for_ever_are_refused(
    settings: Any, gpus: int, words: str | None
) -> None:
    own = {"gpu": {"count": gpus}}
    job = {"name": "a", "source": "s3://a/", "output": "s3://b/c", **own}
    pods_of = {
        "workers.gpu.count": small(settings=settings, workers=own),
        "groups: l4: gpu.count": small(settings=settings, groups=[{"name": "l4", **own}]),
        "backfill.jobs: a: gpu.count": small(
            stream={"enabled": False}, settings=settings, backfill={"jobs": [job]}
        ),
    }
    if settings.get("workers", {}).get("max_count"):
        # A job runs as many workers as it has shards for, and no more than count.
        del pods_of["backfill.jobs: a: gpu.count"]
    for name, given in pods_of.items():
        if words is None:
            assert objects(given)
        else:
            refused = refusal(given)
            assert words in refused
            assert f"{name} is {gpus}" in refused


def test_replicas_of_a_server_share_the_gpus_of_its_pod() -> None:
    serve = {
        "enabled": True,
        "gpu": {"count": 1},
        "settings": {"serve": {"min_replicas": 2}, "workers": {"gpus_per_worker": 1}},
    }
    given = small(stream={"enabled": False}, secrets={"httpKeys": {"name": "keys"}}, serve=serve)
    assert "serve.gpu.count is 1" in refusal(given)
    serve["gpu"] = {"count": 2}
    assert objects(given)


def test_pods_are_spread_over_zones() -> None:
    spec = one(objects(), "StatefulSet")["spec"]["template"]["spec"]
    (constraint,) = spec["topologySpreadConstraints"]
    assert constraint["topologyKey"] == "topology.kubernetes.io/zone"
    assert constraint["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == "driver"


# -- what every pod has ----------------------------------------------------------------------------


def test_workers_read_secrets_from_their_own_pod() -> None:
    secrets = {
        "kafka": {
            "name": "kafka",
            "usernameKey": "user",
            "passwordKey": "pass",
            "caKey": "ca.crt",
            "certificateKey": "tls.crt",
            "privateKeyKey": "tls.key",
        },
        "s3": {"name": "s3", "caKey": "ca"},
        "hub": {"name": "hub"},
    }
    for mode in ("deployment", "kuberay"):
        manifest = objects(small(secrets=secrets, mode=mode))
        for pod in pods(manifest):
            for container in containers(pod):
                variables = environment(container)
                reference = variables["CLIPSTREAM_KAFKA__SECURITY__PASSWORD"]
                assert reference == {"secretKeyRef": {"name": "kafka", "key": "pass"}}
                assert variables["AWS_SECRET_ACCESS_KEY"]["secretKeyRef"]["name"] == "s3"
                assert variables["HF_TOKEN"]["secretKeyRef"] == {"name": "hub", "key": "token"}
        name = "live-clipstream-settings"
        settings = yaml.safe_load(one(manifest, "ConfigMap", name)["data"]["settings.yaml"])
        assert settings["kafka"]["security"] == {
            "ca_file": "/etc/clipstream/kafka/ca.crt",
            "certificate_file": "/etc/clipstream/kafka/tls.crt",
            "key_file": "/etc/clipstream/kafka/tls.key",
        }
        assert settings["s3"]["ca_file"] == "/etc/clipstream/s3/ca.crt"


@pytest.mark.parametrize(
    ("model", "directory"),
    [
        ({"source": "hub"}, None),
        ({"source": "baked", "directory": "/opt/models/clip"}, "/opt/models/clip"),
        ({"source": "volume", "volume": {"emptyDir": {}}, "directory": "clip"}, "/models/clip"),
        ({"source": "volume", "volume": {"emptyDir": {}}}, "/models"),
        ({"source": "s3", "uri": "s3://models/clip"}, "/models/checkpoint"),
        (
            {"source": "s3", "uri": "s3://models/clip", "revision": REVISION},
            "/models/checkpoint",
        ),
    ],
)
def test_the_weights_are_where_the_settings_say(
    model: dict[str, Any], directory: str | None
) -> None:
    manifest = objects(small(model=model))
    text = one(manifest, "ConfigMap", "live-clipstream-settings")["data"]["settings.yaml"]
    assert yaml.safe_load(text).get("model", {}).get("directory") == directory
    for pod in pods(manifest):
        first = pod["spec"].get("initContainers", [])
        assert [each["name"] for each in first] == (["model"] if model["source"] == "s3" else [])
        mounts = {each["name"]: each for each in pod["spec"]["containers"][0]["volumeMounts"]}
        if model["source"] in ("volume", "s3"):
            assert mounts["model"] == {"name": "model", "mountPath": "/models", "readOnly": True}
        if first:
            options = parsed(["clipstream", *first[0]["args"]])
            assert options["source"] == "s3://models/clip"
            assert str(options["directory"]) == directory
            assert options["revision"] == model.get("revision")
            (own,) = [each for each in first[0]["volumeMounts"] if each["name"] == "model"]
            assert own["readOnly"] is False


def test_every_container_asks_the_mirror_of_the_hub() -> None:
    mirror = {"name": "HF_ENDPOINT", "value": "https://hub.internal"}
    for mode in ("deployment", "kuberay"):
        manifest = objects(small(mode=mode, extraEnv=[mirror]))
        asking = [each for pod in pods(manifest) for each in containers(pod)]
        assert {environment(each)["HF_ENDPOINT"] for each in asking} == {mirror["value"]}


@pytest.mark.parametrize("source", ["baked", "volume", "s3"])
def test_a_source_of_weights_without_its_place_is_refused(source: str) -> None:
    assert f"because model.source is {source}" in refusal(small(model={"source": source}))


def test_a_revision_of_weights_that_nothing_checks_is_refused() -> None:
    hub = {"source": "hub", "revision": REVISION}
    assert "model.revision: leave it out" in refusal(small(model=hub))


def test_a_release_without_label_sets_is_refused() -> None:
    assert "labelSets: there is none" in refusal({})
    assert objects({"settings": {"label_sets": {"paths": ["/sets"]}}})
    named = objects({"labelSets": {"existingConfigMap": "sets"}})
    assert "live-clipstream-label-sets" not in {each["metadata"]["name"] for each in named}
    pod = one(named, "StatefulSet")["spec"]["template"]["spec"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "label-sets"]
    assert volume["configMap"]["name"] == "sets"


def test_labels_of_pods_say_whose_they_are() -> None:
    given = small(
        podLabels={"team": "trust"},
        podAnnotations={"mesh": "no"},
        commonLabels={"cost": "7"},
    )
    for pod in pods(objects(given)):
        labels = pod["metadata"]["labels"]
        assert labels["team"] == "trust"
        assert pod["metadata"]["annotations"]["mesh"] == "no"
        assert labels["cost"] == "7"
        assert labels["app.kubernetes.io/name"] == "clipstream"
        assert labels["app.kubernetes.io/instance"] == "live"
        assert component(pod) in {"driver", "doctor", "test"}


def test_the_ray_of_a_pod_asks_its_processes_for_a_token() -> None:
    (driver,) = one(objects(), "StatefulSet")["spec"]["template"]["spec"]["containers"]
    assert environment(driver)["RAY_AUTH_MODE"] == "token"


def test_nothing_to_run_is_refused() -> None:
    assert "nothing to run" in refusal(small(stream={"enabled": False}))


def test_further_objects_are_templates() -> None:
    extra = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "{{ .Release.Name }}-own"},
    }
    assert one(objects(small(extraObjects=[extra])), "ConfigMap", "live-own")
