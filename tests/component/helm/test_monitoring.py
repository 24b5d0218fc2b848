"""How Prometheus finds the drivers, and what the chart brings of monitoring/."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from deploy.dev.monitoring.rules import defaults, rules_file
from tests.rigs.charts import CHART, SMALL, Object, component, kinds, objects, one, pods, refusal

FILES = CHART / "files"


def monitored(**more: Any) -> list[Object]:
    values = {
        key: more.pop(key) for key in list(more) if key in ("mode", "workers", "groups", "keda")
    }
    on = {name: {"enabled": True, **given} for name, given in more.items()}
    return objects({**SMALL, **values, "monitoring": on})


def test_nothing_of_an_operator_is_made_unless_asked_for() -> None:
    of_operators = {
        "PodMonitor",
        "ServiceMonitor",
        "ScrapeConfig",
        "PrometheusRule",
        "ScaledObject",
    }
    assert not of_operators & kinds(objects())


def test_a_monitor_reads_the_workers_through_their_driver() -> None:
    for mode, of_driver in (("deployment", "driver"), ("kuberay", "head")):
        manifest = monitored(mode=mode, podMonitor={"labels": {"release": "prometheus"}})
        monitor = one(manifest, "PodMonitor")
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert (endpoint["port"], endpoint["path"]) == ("health", "/metrics/all")
        (expression,) = monitor["spec"]["selector"]["matchExpressions"]
        assert of_driver in expression["values"]
        scraped = [
            pod
            for pod in pods(manifest)
            if any(
                port["name"] == "health"
                for each in pod["spec"]["containers"]
                for port in each.get("ports", ())
            )
        ]
        assert len(scraped) == 1


def test_a_service_monitor_finds_the_service_of_the_drivers() -> None:
    manifest = monitored(serviceMonitor={})
    wanted = one(manifest, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    service = one(manifest, "Service")
    assert wanted.items() <= service["metadata"]["labels"].items()
    assert [port["name"] for port in service["spec"]["ports"]] == ["health"]


def test_discovery_asks_every_driver_and_the_monitors_read_no_series_twice() -> None:
    manifest = monitored(workers={"replicas": 2}, scrapeConfig={}, podMonitor={})
    urls = [each["url"] for each in one(manifest, "ScrapeConfig")["spec"]["httpSDConfigs"]]
    assert urls == [
        f"http://live-clipstream-{n}.live-clipstream-driver.images.svc:8080/targets"
        for n in range(2)
    ]
    (endpoint,) = one(manifest, "PodMonitor")["spec"]["podMetricsEndpoints"]
    _, of_drivers = endpoint["relabelings"]
    assert (of_drivers["targetLabel"], of_drivers["replacement"]) == (
        "__metrics_path__",
        "/metrics",
    )
    assert of_drivers["regex"] == "driver|head"
    # HTTP servers and backfills are not discovered: their drivers answer for their workers.
    assert endpoint["path"] == "/metrics/all"
    (sd,) = one(monitored(mode="kuberay", scrapeConfig={}), "ScrapeConfig")["spec"]["httpSDConfigs"]
    assert sd["url"] == "http://live-clipstream-driver.images.svc:8080/targets"


def test_the_driver_of_a_server_alone_answers_for_its_replicas() -> None:
    """No ScrapeConfig finds replicas."""
    on = {name: {"enabled": True} for name in ("podMonitor", "serviceMonitor", "scrapeConfig")}
    manifest = objects(
        {
            **SMALL,
            "mode": "kuberay",
            "monitoring": {**on, "annotations": True},
            "stream": {"enabled": False},
            "serve": {"enabled": True},
            "secrets": {"httpKeys": {"name": "keys"}},
        }
    )
    assert "ScrapeConfig" not in kinds(manifest)
    (of_pods,) = one(manifest, "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert [each["targetLabel"] for each in of_pods["relabelings"]] == ["release"]
    (of_services,) = one(manifest, "ServiceMonitor")["spec"]["endpoints"]
    (head,) = [pod for pod in pods(manifest) if component(pod) == "head"]
    annotated = head["metadata"]["annotations"]["prometheus.io/path"]
    assert of_pods["path"] == of_services["path"] == annotated == "/metrics/all"


@pytest.mark.parametrize("mode", ["deployment", "kuberay"])
def test_series_have_the_label_by_which_dashboards_choose_a_release(mode: str) -> None:
    manifest = monitored(mode=mode, podMonitor={}, serviceMonitor={}, scrapeConfig={})
    label = {"action": "replace", "targetLabel": "release", "replacement": "live"}
    (of_pods,) = one(manifest, "PodMonitor")["spec"]["podMetricsEndpoints"]
    (of_services,) = one(manifest, "ServiceMonitor")["spec"]["endpoints"]
    of_workers = one(manifest, "ScrapeConfig")["spec"]
    assert all(label in each["relabelings"] for each in (of_pods, of_services, of_workers))


def test_discovery_asks_as_many_drivers_as_there_may_be() -> None:
    manifest = monitored(keda={"enabled": True, "maxReplicas": 3}, scrapeConfig={})
    assert len(one(manifest, "ScrapeConfig")["spec"]["httpSDConfigs"]) == 3


@pytest.mark.parametrize("mode", ["deployment", "kuberay"])
def test_plain_annotations_lead_to_the_same_port(mode: str) -> None:
    manifest = objects({**SMALL, "mode": mode, "monitoring": {"annotations": True}})
    asked = [
        {key: value for key, value in annotations.items() if key.startswith("prometheus")}
        for annotations in (pod["metadata"].get("annotations", {}) for pod in pods(manifest))
    ]
    assert [each for each in asked if each] == [
        {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "8080",
            "prometheus.io/path": "/metrics/all",
        }
    ]


def test_the_rules_are_those_of_the_monitoring_for_the_releases_own_drivers() -> None:
    rule = one(monitored(rules={"labels": {"release": "prometheus"}}), "PrometheusRule")
    # The operator calls a job by its PodMonitor, or by the Service that a ServiceMonitor has found.
    jobs = "images/live-clipstream|live-clipstream-driver"
    here = {"selector": 'namespace="images",', "driver_target": f'job=~"{jobs}"'}
    written = yaml.safe_load(rules_file({**defaults(), **here}))
    assert rule["spec"]["groups"] == written["groups"]


def test_a_release_of_backfills_alone_misses_no_driver() -> None:
    job = {"name": "archive", "source": "s3://photos/", "output": "s3://derived/"}
    values = {"stream": {"enabled": False}, "backfill": {"jobs": [job]}}
    rule = one(
        objects({**SMALL, **values, "monitoring": {"rules": {"enabled": True}}}), "PrometheusRule"
    )
    alerts = {each.get("alert") for group in rule["spec"]["groups"] for each in group["rules"]}
    assert "ClipstreamDriverDown" not in alerts
    assert "ClipstreamBackfillStalled" in alerts


def test_parameters_of_rules_can_be_changed_and_not_misspelt() -> None:
    name = next(iter(defaults()))
    plain = one(monitored(rules={}), "PrometheusRule")
    changed = one(monitored(rules={"parameters": {name: "4711"}}), "PrometheusRule")
    assert "4711" in json.dumps(changed)
    assert "4711" not in json.dumps(plain)
    values = {**SMALL, "monitoring": {"rules": {"enabled": True, "parameters": {"nonsense": 1}}}}
    assert "there is no nonsense" in refusal(values)


def test_the_dashboards_are_those_of_the_monitoring() -> None:
    manifest = monitored(dashboards={"annotations": {"grafana_folder": "Clipstream"}})
    maps = [
        each for each in manifest if each["metadata"].get("labels", {}).get("grafana_dashboard")
    ]
    written = {
        path.name: json.loads(path.read_text()) for path in (FILES / "dashboards").glob("*.json")
    }
    assert {
        name: json.loads(text) for each in maps for name, text in each["data"].items()
    } == written
    assert written
    assert all(each["metadata"]["annotations"]["grafana_folder"] == "Clipstream" for each in maps)
