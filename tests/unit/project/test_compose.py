"""deploy/compose.yaml: its commands as the command line reads them, its settings as they are
validated, and the paths between containers and the tree."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.dev.image import project_version
from pipeline.adapters.clip.checkpoint import from_directory
from pipeline.adapters.label_files import load_label_sets
from tests.rigs.command_line import parsed
from tests.rigs.root import ROOT
from workers.settings.loading import Settings

FOLDER = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if "clipstream:" in each["image"]}
MOUNTED = "/etc/clipstream/settings/settings.yaml"


def settings() -> Settings:
    text = (FOLDER / "examples/containers.yaml").read_text()
    return Settings.model_validate(yaml.safe_load(text), context={"must_read": True})


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """What a service mounts: paths in its container, and where each comes from."""
    pairs = (each.split(":") for each in service["volumes"])
    return {target: source for source, target, *_ in pairs}


def test_the_image_is_the_one_that_make_image_builds() -> None:
    assert OURS.keys() == {"bucket", "keys", "stream", "console"}
    for each in OURS.values():
        assert each["image"] == f"clipstream:${{CLIPSTREAM_VERSION:-{project_version()}}}"


def test_without_the_profile_only_kafka_and_s3_start() -> None:
    """As before there was an image: they are what tests and development need."""
    plain = {name for name, each in SERVICES.items() if "profiles" not in each}
    assert plain == {"kafka", "topics", "s3"}
    for name in plain:
        assert set(SERVICES[name].get("depends_on", {})) <= plain


@pytest.mark.parametrize("name", ["stream", "console"])
def test_a_service_runs_a_command_that_exists(name: str) -> None:
    parsed(["clipstream", *OURS[name]["command"]])
    assert "entrypoint" not in OURS[name]


def test_the_key_is_made_by_a_command_that_exists_and_where_the_server_looks() -> None:
    (script,) = OURS["keys"]["command"]
    (line,) = re.findall(r"clipstream keys create .*", script.replace("\\\n", " "))
    options = parsed(shlex.split(line))
    assert options["file"] == settings().serve.keys
    assert mounts(OURS["keys"])["/keys"] == mounts(OURS["console"])["/keys"]


def test_the_bucket_that_is_made_is_the_one_that_may_be_read() -> None:
    (program,) = OURS["bucket"]["command"]
    compile(program, "compose.yaml", "exec")
    s3 = settings().s3
    assert [f'Bucket="{bucket}"' in program for bucket in s3.allowed_buckets] == [True]
    assert f'endpoint_url="{s3.endpoint}"' in program


def test_a_server_that_others_reach_has_keys() -> None:
    assert settings().serve.host == "0.0.0.0"
    assert settings().serve.keys is not None


@pytest.mark.parametrize("name", OURS)
def test_what_is_mounted_from_the_tree_is_there(name: str) -> None:
    for source in mounts(OURS[name]).values():
        if source.startswith("."):
            assert (FOLDER / source).exists()
        else:
            assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", ["stream", "console"])
def test_the_settings_name_what_the_service_mounts(name: str) -> None:
    paths = mounts(OURS[name])
    assert OURS[name]["environment"]["CLIPSTREAM_CONFIG"] == MOUNTED
    assert FOLDER / paths[MOUNTED] == FOLDER / "examples/containers.yaml"
    read = settings()
    assert read.model.directory is not None
    assert from_directory("shapes", FOLDER / paths[str(read.model.directory)])
    labels = [Path(path) for path in paths if Path(path).parent in read.label_sets.paths]
    assert load_label_sets([FOLDER / paths[str(path)] for path in labels])


def test_addresses_are_those_of_the_services() -> None:
    read = settings()
    kafka = SERVICES["kafka"]["environment"]
    for address in read.kafka.bootstrap_servers:
        assert f"INTERNAL://{address}" in kafka["KAFKA_ADVERTISED_LISTENERS"]
    s3 = SERVICES["s3"]
    assert read.s3.endpoint == "http://s3:9000"
    assert "--port :9000" in s3["command"]
    for each in OURS.values():
        assert each["environment"]["AWS_ACCESS_KEY_ID"] == s3["environment"]["ROOT_ACCESS_KEY_ID"]
        secret = s3["environment"]["ROOT_SECRET_ACCESS_KEY"]
        assert each["environment"]["AWS_SECRET_ACCESS_KEY"] == secret


@pytest.mark.parametrize("name", ["stream", "console"])
def test_a_long_running_service_restarts_is_watched_and_may_drain(name: str) -> None:
    service = OURS[name]
    assert service["restart"] == "unless-stopped"
    grace = int(service["stop_grace_period"].removesuffix("s"))
    assert grace >= settings().workers.grace_s + 20
    # The stream's is the image's own: its port is the default.
    watched = service.get("healthcheck", {}).get("test", "the image's")
    port = settings().serve.port if name == "console" else settings().endpoints.health_port
    assert watched == "the image's" or str(port) in watched[-1]
    (published,) = service["ports"]
    assert published == f"127.0.0.1:{port}:{port}"


@pytest.mark.parametrize("name", OURS)
def test_a_container_has_no_more_rights_than_a_pod(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]


def test_what_runs_once_ends_before_what_waits_for_it() -> None:
    for name in ("stream", "console"):
        waits = OURS[name]["depends_on"]
        assert {each for each in waits if "restart" in SERVICES[each]} == set()
        assert {wait["condition"] for wait in waits.values()} == {"service_completed_successfully"}
