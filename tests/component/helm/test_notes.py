"""What Helm tells a person after an installation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rigs.charts import (
    EXAMPLES,
    SMALL,
    Object,
    component,
    containers,
    example,
    notes,
    objects,
    one,
    pods,
)

KINDS = {"svc": "Service", "statefulset": "StatefulSet", "deployment": "Deployment"}

SERVER = {
    **SMALL,
    "stream": {"enabled": False},
    "serve": {"enabled": True},
    "secrets": {"httpKeys": {"name": "keys"}},
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_notes_name_objects_that_are_there(path: Path) -> None:
    text, manifest = notes({}, files=[path]), example(path)
    for word in text.split():
        kind, _, name = word.partition("/")
        if name and kind in KINDS:
            assert one(manifest, KINDS[kind], name)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_notes_drain_every_driver_of_a_stream(path: Path) -> None:
    manifest = example(path)
    drivers = [it for it in manifest if it["kind"] in {"StatefulSet", "RayCluster"}]
    printed = re.findall(
        "all(?: of the stream)?: kubectl -n images delete (.*?) +\\(", notes({}, files=[path])
    )
    assert len(printed) == (1 if drivers else 0)
    for each in printed:
        kind, *which = each.split()
        assert {it["kind"].lower() for it in drivers} == {kind}
        assert all(_is_chosen(it, which) for it in drivers)


def _is_chosen(found: Object, which: list[str]) -> bool:
    """By its name, or by ``-l`` and its labels."""
    if which[0] != "-l":
        return which == [str(found["metadata"]["name"])]
    wanted = dict(label.split("=") for label in which[1].split(","))
    return bool(wanted.items() <= found["metadata"]["labels"].items())


def test_the_notes_say_where_to_look() -> None:
    text = notes({**SMALL, "settings": {"kafka": {"group": "mine"}}})
    assert "on port 8080 of the driver's pod: /healthz, /readyz, /metrics/all, /targets" in text
    assert "--group mine --describe" in text
    assert "helm test live -n images" in text
    assert "kubectl drain NODE" in text
    assert "within 30 s" in text
    assert "console" not in text


@pytest.mark.parametrize("mode", ["deployment", "kuberay"])
def test_the_notes_of_a_server_alone_say_where_to_look_and_how_to_prove_it(mode: str) -> None:
    alone = {**SERVER, "mode": mode}
    text = notes(alone)
    assert "HTTP API and console, at http://localhost:8000/" in text
    assert "pod: /healthz, /readyz, /metrics/all, /targets" in text
    assert "within 80 s" in text
    assert "helm test live -n images" in text
    assert "set test.httpKey.name first" in text
    assert "set test" not in notes({**alone, "test": {"httpKey": {"name": "plain"}}})
    for of_a_stream in ("kafka-consumer-groups", "statefulset", "commits"):
        assert of_a_stream not in text
    (port,) = {
        each["containerPort"]
        for container in _containers_of_drivers(objects(alone))
        for each in container.get("ports", ())
        if each["name"] == "health"
    }
    assert f"on port {port} of" in text


def _containers_of_drivers(manifest: list[Object]) -> Iterator[Object]:
    for pod in pods(manifest):
        if component(pod) in {"head", "serve"}:
            yield from containers(pod)


def test_the_notes_of_a_backfill_say_how_it_waits() -> None:
    job = {"name": "all", "source": "s3://photos/", "output": "s3://derived/all"}
    text = notes({**SMALL, "stream": {"enabled": False}, "backfill": {"jobs": [job]}})
    assert "clipstream backfill status 's3://derived/all'" in text
    assert "clipstream backfill pause 's3://derived/all'" in text
    assert "DAY" not in text
    daily = {**job, "schedule": "0 3 * * *", "output": "s3://derived/${DAY}"}
    text = notes({**SMALL, "stream": {"enabled": False}, "backfill": {"jobs": [daily]}})
    assert "with a day in place of ${DAY}" in text


def test_the_notes_say_how_to_upgrade_beside_rays_autoscaler() -> None:
    scaled = {**SMALL, "ray": {"autoscaler": {"enabled": True}}}
    assert "--server-side=false" in notes({**scaled, "mode": "kuberay"})
    assert "--server-side" not in notes(scaled)
