"""The HTTP server: its pods, its end under load, and the ways to it."""

from __future__ import annotations

from typing import Any

import yaml

from tests.rigs.charts import SMALL, Object, component, kinds, objects, one, pods, refusal

KEYS = {"httpKeys": {"name": "keys"}}


def server(**more: Any) -> list[Object]:
    serve = {"enabled": True, **more.pop("serve", {})}
    return objects({**SMALL, "secrets": KEYS, "serve": serve, **more})


def test_a_server_without_keys_is_refused() -> None:
    assert "secrets.httpKeys.name" in refusal({**SMALL, "serve": {"enabled": True}})


def test_a_server_runs_with_or_without_the_stream() -> None:
    assert {"StatefulSet", "Deployment"} <= kinds(server())
    alone = server(stream={"enabled": False})
    assert "StatefulSet" not in kinds(alone)
    assert {component(pod) for pod in pods(alone)} <= {"serve", "test"}


def test_its_settings_are_those_of_the_release_and_its_own() -> None:
    manifest = server(settings={"workers": {"count": 2}, "serve": {"port": 8001}})
    text = one(manifest, "ConfigMap", "live-clipstream-serve-settings")["data"]["settings.yaml"]
    settings = yaml.safe_load(text)
    assert settings["workers"] == {"count": 2, "grace_s": 80}
    assert settings["serve"] == {
        "host": "0.0.0.0",
        "keys": "/etc/clipstream/http-keys",
        "port": 8001,
    }
    (container,) = one(manifest, "Deployment")["spec"]["template"]["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"http": 8001, "health": 8080}
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    assert settings["serve"]["keys"] in mounts


def test_a_pod_that_goes_answers_until_load_balancers_know() -> None:
    spec = one(server(), "Deployment")["spec"]
    pod = spec["template"]["spec"]
    assert pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "15"]
    # The sleep, the requests in flight, and the end of Ray.
    assert pod["terminationGracePeriodSeconds"] == 15 + 80 + 20
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_pod_gets_requests_when_its_replica_answers() -> None:
    (container,) = one(server(), "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "health"}


def test_an_autoscaler_decides_alone() -> None:
    assert one(server(), "Deployment")["spec"]["replicas"] == 2
    scaled = server(serve={"hpa": {"enabled": True}})
    assert "replicas" not in one(scaled, "Deployment")["spec"]
    assert (
        one(scaled, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"]
        == "live-clipstream-serve"
    )


def test_ways_to_it_lead_to_its_service() -> None:
    routes = {
        "ingress": {"enabled": True, "host": "a.example.com", "tlsSecretName": "tls"},
        "httpRoute": {
            "enabled": True,
            "parentRefs": [{"name": "gateway"}],
            "hostnames": ["a.example.com"],
        },
    }
    manifest = server(serve=routes)
    service = one(manifest, "Service", "live-clipstream-http")
    assert service["spec"]["selector"]["app.kubernetes.io/component"] == "serve"
    ingress = one(manifest, "Ingress")["spec"]
    backend = ingress["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": "live-clipstream-http", "port": {"name": "http"}}
    assert ingress["tls"] == [{"hosts": ["a.example.com"], "secretName": "tls"}]
    route = one(manifest, "HTTPRoute")["spec"]
    closed, served = route["rules"]
    assert closed == {"matches": [{"path": {"type": "PathPrefix", "value": "/-/"}}]}
    assert served["backendRefs"] == [{"name": "live-clipstream-http", "port": 80}]


def test_on_a_ray_cluster_the_heads_proxy_is_the_way() -> None:
    manifest = server(mode="kuberay")
    assert "Deployment" not in kinds(manifest)
    service = one(manifest, "Service", "live-clipstream-http")
    assert service["spec"]["selector"]["app.kubernetes.io/component"] == "head"


def test_a_way_without_its_address_is_refused() -> None:
    given = {**SMALL, "secrets": KEYS, "serve": {"enabled": True, "ingress": {"enabled": True}}}
    assert "serve.ingress.host" in refusal(given)
    given["serve"] = {"enabled": True, "httpRoute": {"enabled": True}}
    assert "serve.httpRoute.parentRefs" in refusal(given)
