"""Every value of the chart is used: for each leaf of values.yaml there are values with which a
change of the leaf changes the manifest."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from deploy.dev.reference.chart.values import Value, read
from tests.rigs.charts import rendered

VALUES = read()
LEAVES = [path for path, value in VALUES.items() if not value.section]

EVERYTHING: Mapping[str, Any] = {
    "labelSets": {"files": {"shapes": "name: shapes\n"}},
    "secrets": {
        "kafka": {
            "name": "kafka",
            "usernameKey": "username",
            "passwordKey": "password",
            "oauthClientSecretKey": "oauth",
            "caKey": "ca",
            "certificateKey": "certificate",
            "privateKeyKey": "key",
            "privateKeyPasswordKey": "key-password",
        },
        "s3": {"name": "s3", "sessionTokenKey": "session", "caKey": "ca"},
        "hub": {"name": "hub"},
        "httpKeys": {"name": "keys"},
    },
    "serve": {
        "enabled": True,
        "ingress": {"host": "images.example.com"},
        "httpRoute": {"parentRefs": [{"name": "gateway"}]},
    },
    "backfill": {
        "job": {"source": "s3://photos/${DAY}", "output": "s3://derived/${DAY}"},
        "jobs": [{"name": "once"}, {"name": "daily", "schedule": "0 6 * * *"}],
    },
    "networkPolicy": {"enabled": True},
    "test": {"bucket": "images", "key": "one.jpg"},
}
"""What needs no choice, switched on."""

NEEDS: Mapping[str, Mapping[str, Any]] = {
    "backfill.job.gpu.resource": {"backfill.job.gpu.count": 1},
    "keda.awsRegion": {
        "settings.kafka.security": {"protocol": "SASL_SSL", "sasl_mechanism": "AWS_MSK_IAM"},
        "keda.awsRegion": "eu-central-1",
    },
    "model.directory": {"model.source": "baked", "model.directory": "/opt/models/clip"},
    "model.resources": {"model.source": "s3", "model.uri": "s3://models/clip"},
    "model.revision": {"model.source": "s3", "model.uri": "s3://models/clip"},
    "model.source": {"model.directory": "/opt/models/clip"},
    "model.uri": {"model.source": "s3", "model.uri": "s3://models/clip"},
    "model.volume": {"model.source": "volume", "model.volume": {"nfs": {"path": "/models"}}},
    "networkPolicy.egress.otlp.ports": {"settings.tracing.enabled": True},
    "networkPolicy.egress.otlp.to": {"settings.tracing.enabled": True},
    "ray.autoscaler.idleTimeoutSeconds": {"ray.autoscaler.enabled": True},
    "ray.autoscaler.resources": {"ray.autoscaler.enabled": True},
    "scaleIn.tokenSeconds": {"scaleIn.enabled": True},
    "serve.gpu.resource": {"serve.gpu.count": 1},
    "test.httpKey.key": {"stream.enabled": False, "test.httpKey.name": "plain"},
    "test.httpKey.name": {"stream.enabled": False},
    "topics.partitions": {"topics.create": True},
    "topics.replication": {"topics.create": True},
    "workers.gpu.resource": {"workers.gpu.count": 1},
    "workers.maxReplicas": {"ray.autoscaler.enabled": True},
    "workers.minReplicas": {"ray.autoscaler.enabled": True},
}
"""Leaves that another value must let count."""

CHANGED: Mapping[str, Any] = {
    "backfill.job.firstDay": "2026-11-01",
    "backfill.job.schedule": "0 7 * * *",
    "backfill.jobs": [{"name": "another"}],
    "groups": [{"name": "l4"}, {"name": "a10g", "gpu": {"count": 1}}],
    "image.digest": f"sha256:{'0' * 64}",
    "model.revision": f"sha256:{'0' * 64}",
    "model.source": "baked",
    "model.uri": "s3://models/another",
    "networkPolicy.egress.apiServer.ports": [16443],
    "networkPolicy.egress.https.ports": [9000],
    "networkPolicy.egress.kafka.ports": [19092],
    "networkPolicy.egress.otlp.ports": [14317],
    "podSecurityContext.seccompProfile": {"type": "Localhost", "localhostProfile": "clip.json"},
    "monitoring.rules.parameters": {"backlog_s": 4711},
}
"""Values of leaves whose type alone does not give another one."""

OF_TYPES: Mapping[str, Any] = {
    "map of texts": {"changed": "yes"},
    "list of texts": ["changed"],
    "list of objects": [{"changed": "yes"}],
    "kubernetes object": {"changed": {"yes": "yes"}},
    "resources": {"requests": {"cpu": "7"}},
    "variables": [{"name": "CHANGED", "value": "yes"}],
    "settings": {"log": {"level": "debug"}},
}


def another(leaf: Value, now: Any) -> Any:
    """A value that the leaf may have, other than the one that it has now."""
    if leaf.path in CHANGED:
        return CHANGED[leaf.path]
    if leaf.type:
        return OF_TYPES[leaf.type]
    if choices := leaf.keywords.get("enum"):
        return next(choice for choice in choices if choice != leaf.default)
    if isinstance(leaf.default, bool):
        return not now
    if leaf.default is None:
        return 500
    return leaf.default + 1 if isinstance(leaf.default, int) else "changed"


def put(values: dict[str, Any], path: str, value: Any) -> None:
    *sections, last = path.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    values[last] = value


def get(values: Any, path: str) -> Any:
    """The value as it is given, or else its default."""
    for part in path.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return VALUES[path].default if values is None else values


def bases(leaf: Value) -> Iterator[dict[str, Any]]:
    """Values in which the leaf may count: both modes, with what holds the leaf switched on."""
    sections = leaf.path.split(".")
    for mode in ("deployment", "kuberay"):
        values = copy.deepcopy({**EVERYTHING, "mode": mode})
        for depth in range(1, len(sections)):
            switch = ".".join([*sections[:depth], "enabled"])
            if switch in VALUES and switch != leaf.path:
                put(values, switch, True)
        for path, value in NEEDS.get(leaf.path, {}).items():
            put(values, path, value)
        if mode == "kuberay" and any(
            values.get(each, {}).get("enabled") for each in ("keda", "hpa")
        ):
            continue
        yield values


@pytest.mark.parametrize("path", LEAVES)
def test_a_leaf_changes_the_manifest(path: str) -> None:
    leaf = VALUES[path]
    for before in bases(leaf):
        after = copy.deepcopy(before)
        if path == "mode":
            after["mode"] = "kuberay"
        else:
            put(after, path, another(leaf, get(before, path)))
        if rendered(before) != rendered(after):
            return
    pytest.fail(f"no manifest tells {path} from its default: use the value, or remove it")


def test_the_table_names_values_that_exist() -> None:
    assert {*NEEDS, *CHANGED} <= set(LEAVES)
