"""Hooks: checks before an upgrade and after an install, and `helm test`."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.rigs.charts import CHART, Object, environment, kinds, objects, one, small
from tests.rigs.command_line import parsed
from tests.rigs.root import ROOT
from tests.rigs.serve.application import served
from tests.rigs.serve.listening import listening
from workers.serve.admission.key_file import KeyEntry, new_key
from workers.settings.serve import ServePolicy


def annotations_of(each: Object) -> dict[str, str]:
    found: dict[str, str] = each["metadata"]["annotations"]
    return found


def doctor(manifest: list[Object]) -> Object:
    return one(manifest, "Job", "live-clipstream-doctor")


def test_the_checks_run_when_what_they_mount_is_there() -> None:
    """A pre-install hook would run before the ServiceAccount and the ConfigMaps of the release."""
    manifest = objects()
    assert annotations_of(doctor(manifest))["helm.sh/hook"] == "post-install,pre-upgrade"
    hooks = [each for each in manifest if "helm.sh/hook" in each["metadata"].get("annotations", {})]
    assert not [each for each in hooks if "pre-install" in annotations_of(each)["helm.sh/hook"]]


def test_before_an_upgrade_the_checks_see_the_new_settings_and_label_sets() -> None:
    manifest = objects(small(settings={"kafka": {"group": "new"}}))
    own = one(manifest, "ConfigMap", "live-clipstream-doctor")
    assert annotations_of(own)["helm.sh/hook"] == "post-install,pre-upgrade"
    weights = [int(annotations_of(each)["helm.sh/hook-weight"]) for each in (own, doctor(manifest))]
    assert weights[0] < weights[1]
    assert "group: new" in own["data"]["settings.yaml"]
    volumes = {
        each["name"]: each for each in doctor(manifest)["spec"]["template"]["spec"]["volumes"]
    }
    assert volumes["settings"]["configMap"]["name"] == "live-clipstream-doctor"
    assert volumes["label-sets"]["configMap"] == {
        "name": "live-clipstream-doctor",
        "items": [{"key": "label-set-shapes", "path": "shapes.yaml"}],
    }


def test_hooks_can_run_again_and_leave_nothing() -> None:
    manifest = objects()
    for each in manifest:
        if "helm.sh/hook" in each["metadata"].get("annotations", {}):
            policy = annotations_of(each)["helm.sh/hook-delete-policy"]
            assert policy == "before-hook-creation,hook-succeeded"
    assert doctor(manifest)["spec"]["ttlSecondsAfterFinished"] > 0
    assert doctor(manifest)["spec"]["activeDeadlineSeconds"] > 0


def test_the_checks_create_topics_if_asked_to() -> None:
    def arguments(**topics: Any) -> list[str]:
        (container,) = doctor(objects(small(topics=topics)))["spec"]["template"]["spec"][
            "containers"
        ]
        found: list[str] = container["args"]
        return found

    assert "--create-topics" not in arguments()
    words = arguments(create=True, partitions=24, replication=3)
    options = parsed(["clipstream", *words])
    assert (options["create_topics"], options["partitions"], options["replication"]) == (
        True,
        24,
        3,
    )


def test_hooks_have_no_gpu_and_ask_for_none() -> None:
    manifest = objects(small(settings={"model": {"device": "cuda"}}, workers={"gpu": {"count": 1}}))
    pods = [doctor(manifest)["spec"]["template"], one(manifest, "Pod")]
    for pod in pods:
        (container,) = pod["spec"]["containers"]
        assert environment(container)["CLIPSTREAM_MODEL__DEVICE"] == "auto"
        assert not [each for each in container["resources"]["limits"] if "gpu" in each]


def test_argo_cd_can_run_the_checks_as_a_hook_of_its_own() -> None:
    manifest = objects(small(doctor={"annotations": {"argocd.argoproj.io/hook": "Sync"}}))
    assert annotations_of(doctor(manifest))["argocd.argoproj.io/hook"] == "Sync"


def test_without_a_stream_nothing_asks_for_topics() -> None:
    serve = {"serve": {"enabled": True}, "secrets": {"httpKeys": {"name": "keys"}}}
    assert "Job" not in kinds(objects(small(stream={"enabled": False}, **serve)))
    assert "Job" not in kinds(objects(small(doctor={"enabled": False})))


HTTP_KEY = {"httpKey": {"name": "plain"}}
SERVER_ALONE = {
    "stream": {"enabled": False},
    "serve": {"enabled": True},
    "secrets": {"httpKeys": {"name": "keys"}},
    "test": HTTP_KEY,
}


def container_of_test(**more: Any) -> Object:
    (container,) = one(objects(small(**more)), "Pod")["spec"]["containers"]
    assert container["command"] == ["tini", "--", "bash", "-uc"]
    return dict(container)


def script(**more: Any) -> str:
    (text,) = container_of_test(**more)["args"]
    return str(text)


def test_the_test_waits_for_a_ready_driver_and_then_classifies_an_image() -> None:
    text = script(test={"bucket": "images", "key": "it's one.jpg"})
    assert "/dev/tcp/live-clipstream-driver/8080" in text
    (line,) = [line for line in text.splitlines() if line.startswith("exec clipstream")]
    options = parsed(shlex.split(line)[1:])
    assert options["uri"] == "s3://images/it's one.jpg"
    assert options["upload"] is None
    text = script(test={"bucket": "images", "key": "a.jpg", "upload": True})
    (line,) = [line for line in text.splitlines() if line.startswith("exec clipstream")]
    assert parsed(shlex.split(line)[1:])["upload"] == "bundled"


@pytest.mark.parametrize("mode", ["deployment", "kuberay"])
def test_the_test_of_a_server_alone_needs_no_kafka(mode: str) -> None:
    container = container_of_test(mode=mode, **SERVER_ALONE)
    text, program = container["args"]
    assert "/dev/tcp/live-clipstream-http/80" in text
    assert "exec clipstream" not in text
    assert program == (CHART / "files/classify_over_http.py").read_text()
    assert environment(container)["HTTP_KEY"] == {"secretKeyRef": {"name": "plain", "key": "key"}}


def test_the_test_of_a_server_alone_needs_a_key_to_classify() -> None:
    """The server's own Secret has hashes, which open nothing."""
    alone = {**SERVER_ALONE, "test": {"bucket": "images", "key": "a.jpg"}}
    assert "no image was classified" in script(**alone)
    assert "python3" not in script(**alone)


def test_a_stream_beside_the_server_is_what_is_tested() -> None:
    both = {**SERVER_ALONE, "stream": {"enabled": True}}
    text = script(**{**both, "test": {"bucket": "images", "key": "a.jpg", **HTTP_KEY}})
    assert "exec clipstream verify" in text
    assert "HTTP_KEY" not in environment(container_of_test(**both))


def test_the_server_reads_the_object_if_it_is_there_already() -> None:
    def line(**more: Any) -> str:
        given = {"bucket": "images", "key": "it's one.jpg", **HTTP_KEY, **more}
        container = container_of_test(**{**SERVER_ALONE, "test": given})
        (found,) = [each for each in container["args"][0].splitlines() if "exec python3" in each]
        return str(found)

    address, *objects = shlex.split(line())[4:]
    assert address == "http://live-clipstream-http:80"
    assert objects == ["s3://images/it's one.jpg"]
    assert shlex.split(line(upload=True))[4:] == [address]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A key, and the folder with its digest."""
    folder = tmp_path_factory.mktemp("keys")
    key, key_id, digest = new_key()
    (folder / "keys").write_text(KeyEntry(id=key_id, name="test", sha256=digest).line())
    return key, folder


@pytest.fixture(scope="module")
def server(key: tuple[str, Path]) -> Iterator[str]:
    """The address of a real server, without a scheme."""
    with listening(served(serve=ServePolicy(keys=key[1]))) as running:
        yield running.url.removeprefix("http://")


def over_http(server: str, key: str, /, **test: Any) -> subprocess.CompletedProcess[str]:
    """What the pod of the test runs, against a server."""
    given = {**SERVER_ALONE, "test": {**HTTP_KEY, **test}}
    text, program = container_of_test(**given)["args"]
    text = text.replace("live-clipstream-http/80", server.replace(":", "/"))
    text = text.replace("live-clipstream-http:80", server)
    return subprocess.run(
        ["bash", "-uc", text, program],
        env={**os.environ, "HTTP_KEY": key, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_server_that_classifies_passes(server: str, key: tuple[str, Path]) -> None:
    done = over_http(server, key[0])
    assert done.returncode == 0, done.stderr
    assert "ready after" in done.stdout
    assert f"passed: http://{server}/v1/classify classified the image that" in done.stdout


def test_a_key_that_the_server_does_not_know_fails(server: str) -> None:
    done = over_http(server, new_key()[0])
    assert done.returncode == 1
    assert f"failed: http://{server}/v1/classify answered 401" in done.stderr


def test_an_object_that_the_server_may_not_read_fails(server: str, key: tuple[str, Path]) -> None:
    done = over_http(server, key[0], bucket="secret", key="a.jpg")
    assert done.returncode == 1
    assert "fetch.bucket_not_allowed" in done.stderr


class NotReadyAtFirst(BaseHTTPRequestHandler):
    """A driver that is ready when it is asked for the third time."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200 if self.asked == 3 else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """The test says what it needs."""


def test_the_script_waits_and_ends_as_its_command_ends(tmp_path: Path) -> None:
    command = tmp_path / "clipstream"
    command.write_text('#!/bin/bash\necho "ran $*"\nexit 7\n')
    command.chmod(0o755)
    with ThreadingHTTPServer(("127.0.0.1", 0), NotReadyAtFirst) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        text = script(test={"bucket": "images", "key": "a.jpg"})
        text = text.replace("live-clipstream-driver/8080", f"127.0.0.1/{server.server_port}")
        done = subprocess.run(
            ["bash", "-uc", text.replace("sleep 2", "sleep 0.01")],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        server.shutdown()
    assert NotReadyAtFirst.asked == 3
    assert "ran verify s3://images/a.jpg" in done.stdout
    assert done.returncode == 7


def test_a_test_without_an_image_says_so() -> None:
    assert "no image was classified" in script()
