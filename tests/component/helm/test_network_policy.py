"""The NetworkPolicy: what the release's pods need, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rigs.charts import SMALL, Object, kinds, objects, one, pods


def policy(**more: Any) -> Object:
    given = {**SMALL, "networkPolicy": {"enabled": True, **more.pop("networkPolicy", {})}, **more}
    found: Object = one(objects(given), "NetworkPolicy")["spec"]
    return found


def ports(rules: list[Object]) -> set[int]:
    """The first port of each entry."""
    return {each["port"] for rule in rules for each in rule.get("ports", ())}


def test_there_is_none_unless_asked_for() -> None:
    assert "NetworkPolicy" not in kinds(objects())


@pytest.mark.parametrize("mode", ["deployment", "kuberay"])
def test_it_holds_for_every_pod_of_the_release(mode: str) -> None:
    manifest = objects({**SMALL, "mode": mode, "networkPolicy": {"enabled": True}})
    selector = one(manifest, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    assert all(selector.items() <= pod["metadata"]["labels"].items() for pod in pods(manifest))


def test_it_admits_the_ports_of_the_settings() -> None:
    settings = {"endpoints": {"health_port": 8090, "metrics_port": 9500}}
    assert {8090, 9500} <= ports(policy(settings=settings)["ingress"])


def test_it_admits_the_ports_that_http_servers_have_of_their_own() -> None:
    own = {"serve": {"port": 8100, "metrics_port": 9700}, "endpoints": {"health_port": 8091}}
    serve = {"enabled": True, "settings": own}
    admitted = ports(policy(serve=serve, secrets={"httpKeys": {"name": "keys"}})["ingress"])
    assert {8080, 8091, 8100, 9700} <= admitted
    assert 8000 not in admitted


def test_http_and_the_operator_come_in_where_they_are_used() -> None:
    assert not {8000, 8265} & ports(policy()["ingress"])
    serve = {"serve": {"enabled": True}, "secrets": {"httpKeys": {"name": "keys"}}}
    assert {8000, 8265} <= ports(policy(mode="kuberay", **serve)["ingress"])


ON = {"tracing": {"enabled": True}}
JOB = {"name": "once", "source": "s3://a/", "output": "s3://b/c", "settings": ON}


@pytest.mark.parametrize(
    "given",
    [
        {"settings": ON},
        {"serve": {"enabled": True, "settings": ON}, "secrets": {"httpKeys": {"name": "keys"}}},
        {"backfill": {"jobs": [JOB]}},
    ],
    ids=["all", "serve", "backfill"],
)
def test_the_receiver_of_traces_is_reached_where_there_are_traces(given: dict[str, Any]) -> None:
    assert not {4317, 4318} & ports(policy()["egress"])
    collector = [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]
    traced = policy(networkPolicy={"egress": {"otlp": {"to": collector}}}, **given)
    (receiver,) = [rule for rule in traced["egress"] if {"port": 4318} in rule.get("ports", ())]
    assert receiver["to"] == collector


def test_kafka_stores_and_the_api_server_are_reached_where_they_are() -> None:
    brokers = [{"ipBlock": {"cidr": "10.20.0.0/16"}}]
    egress = policy(networkPolicy={"egress": {"kafka": {"to": brokers, "ports": [9093]}}})["egress"]
    (kafka,) = [rule for rule in egress if {"port": 9093} in rule.get("ports", ())]
    assert kafka["to"] == brokers
    assert {53, 443, 6443} <= ports(egress)
