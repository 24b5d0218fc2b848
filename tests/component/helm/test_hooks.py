"""Hooks: checks before an upgrade and after an install, and `helm test`."""

from __future__ import annotations

import shlex
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.rigs.charts import Object, environment, kinds, objects, one, small
from tests.rigs.command_line import parsed


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


def script(**more: Any) -> str:
    (container,) = one(objects(small(**more)), "Pod")["spec"]["containers"]
    assert container["command"] == ["tini", "--", "bash", "-uc"]
    (text,) = container["args"]
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


def test_the_test_of_a_server_alone_asks_the_server() -> None:
    serve = {"serve": {"enabled": True}, "secrets": {"httpKeys": {"name": "keys"}}}
    assert "/dev/tcp/live-clipstream-http/80" in script(stream={"enabled": False}, **serve)


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
