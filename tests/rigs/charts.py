"""The chart as Helm renders it: objects as plain data, and the words with which it is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from deploy.dev.cluster.programs import program
from tests.rigs.root import ROOT

CHART = ROOT / "helm/clipstream"
EXAMPLES = sorted((CHART / "ci").glob("*-values.yaml"))

Object = dict[str, Any]

SMALL: Mapping[str, Any] = {"labelSets": {"files": {"shapes": "name: shapes\n"}}}
"""The least that the chart asks for."""


def small(**more: Any) -> dict[str, Any]:
    """The least that the chart asks for, and these values."""
    return {**SMALL, **more}


MONITORS = ("podMonitor", "serviceMonitor", "scrapeConfig", "rules", "dashboards")


def all_parts(mode: str, **more: Any) -> dict[str, Any]:
    """Values with all parts of a mode switched on, and these values."""
    storage = {"resources": {"requests": {"storage": "1Gi"}}}
    claim = {"accessModes": ["ReadWriteOnce"], **storage}
    of_mode = {"hpa": {"enabled": True}, "cache": {"claim": claim}} if mode == "deployment" else {}
    job = {"source": "s3://photos/", "output": "s3://derived/photos"}
    return {
        **SMALL,
        **of_mode,
        "mode": mode,
        "monitoring": {name: {"enabled": True} for name in MONITORS},
        "networkPolicy": {"enabled": True},
        "ray": {"autoscaler": {"enabled": True}},
        "secrets": {"ray": {"name": "token"}, "httpKeys": {"name": "keys"}},
        "serve": {
            "enabled": True,
            "hpa": {"enabled": True},
            "ingress": {"enabled": True, "host": "clip.example.com"},
            "httpRoute": {
                "enabled": True,
                "parentRefs": [{"name": "gateway", "sectionName": "https"}],
                "hostnames": ["clip.example.com"],
            },
        },
        "backfill": {
            "jobs": [{**job, "name": "once"}, {**job, "name": "daily", "schedule": "0 3 * * *"}]
        },
        **more,
    }


def helm(*arguments: str, values: str = "") -> subprocess.CompletedProcess[str]:
    """Run Helm. ``values`` (YAML or JSON) go to its standard input, where an argument names
    ``-``."""
    return subprocess.run(
        [program("helm"), *arguments],
        input=values,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def rendered(
    values: Any = SMALL,
    *,
    release: str = "live",
    namespace: str = "images",
    files: Sequence[Path] = (),
) -> str:
    """What ``helm template`` prints."""
    return _rendered(json.dumps(values), release, namespace, tuple(files))


@cache
def _rendered(values: str, release: str, namespace: str, files: tuple[Path, ...]) -> str:
    named = [word for file in files for word in ("--values", str(file))]
    command = ("template", release, str(CHART), "--namespace", namespace)
    done = helm(*command, *named, "--values", "-", values=values)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(values: Any = SMALL, **options: Any) -> list[Object]:
    """Every object of the manifest, hooks included."""
    text = rendered(values, **options)
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each is not None]


def notes(values: Any = SMALL, files: Sequence[Path] = ()) -> str:
    """What ``helm install`` tells a person at its end."""
    named = [word for file in files for word in ("--values", str(file))]
    command = ("install", "live", str(CHART), "--namespace", "images", "--dry-run=client")
    done = helm(*command, *named, "--values", "-", values=json.dumps(values))
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]


def example(path: Path, **options: Any) -> list[Object]:
    """The objects of one of the chart's complete examples."""
    return objects({}, files=[path], **options)


def refusal(values: Any) -> str:
    """Why Helm refuses values."""
    done = helm("template", "live", str(CHART), "--values", "-", values=json.dumps(values))
    assert done.returncode != 0, "Helm takes these values"
    return done.stderr


def one(manifest: Iterable[Object], kind: str, name: str | None = None) -> Object:
    """The only object of a kind, or of a kind and a name."""
    found = [
        each
        for each in manifest
        if each["kind"] == kind and name in (None, each["metadata"]["name"])
    ]
    assert len(found) == 1, f"{kind} {name or ''}: {[each['metadata']['name'] for each in found]}"
    return found[0]


def kinds(manifest: Iterable[Object]) -> set[str]:
    return {each["kind"] for each in manifest}


def pods(manifest: Iterable[Object]) -> Iterator[Object]:
    """Every pod and pod template, wherever it stands."""
    for each in manifest:
        if each["kind"] == "Pod":
            yield each
        yield from _templates(each)


def _templates(node: Any) -> Iterator[Object]:
    if isinstance(node, dict):
        if "containers" in node.get("spec", {}) and "metadata" in node and "kind" not in node:
            yield node
        for each in node.values():
            yield from _templates(each)
    elif isinstance(node, list):
        for each in node:
            yield from _templates(each)


def containers(pod: Object) -> list[Object]:
    """The containers of a pod, those of its start first."""
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def component(labelled: Object) -> str:
    return str(labelled["metadata"]["labels"]["app.kubernetes.io/component"])


def environment(container: Object) -> dict[str, Any]:
    """Variables of a container: their value, or where it comes from. None is there twice."""
    names = [each["name"] for each in container["env"]]
    assert sorted(set(names)) == sorted(names), names
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}
