"""deploy/examples/model: four ways for the weights to come to a worker."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.dev.image import project_version
from pipeline.adapters.clip.policy import DEFAULT_MODEL, DEFAULT_REVISION, ModelPolicy
from tests.rigs.command_line import parsed
from tests.rigs.root import ROOT

FOLDER = ROOT / "deploy/examples/model"
PODS = sorted(FOLDER.glob("*.yaml"))
IMAGE = f"clipstream:{project_version()}"


def pod(file: Path) -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load(file.read_text())["spec"]
    return spec


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*spec.get("initContainers", ()), *spec["containers"]]


def model(spec: dict[str, Any]) -> ModelPolicy:
    """The model's settings that the worker's variables give."""
    (driver,) = spec["containers"]
    variables = {each["name"]: each.get("value") for each in driver["env"]}
    prefix = "CLIPSTREAM_MODEL__"
    return ModelPolicy.model_validate(
        {
            name.removeprefix(prefix).lower(): value
            for name, value in variables.items()
            if name.startswith(prefix)
        }
    )


def test_there_is_one_for_each_source() -> None:
    assert {file.name for file in FOLDER.iterdir()} == {
        "baked.Dockerfile",
        "copied-from-s3.yaml",
        "hub.yaml",
        "volume.yaml",
    }


@pytest.mark.parametrize("file", PODS, ids=lambda file: file.stem)
def test_every_container_runs_a_command_that_exists_in_the_image_with_no_rights(file: Path) -> None:
    spec = pod(file)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for each in containers(spec):
        assert each["image"] == IMAGE
        assert "command" not in each  # tini and clipstream are the image's entry point
        parsed(["clipstream", *each["args"]])
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("file", PODS, ids=lambda file: file.stem)
def test_what_is_mounted_is_there_and_what_is_written_is_a_volume(file: Path) -> None:
    spec = pod(file)
    volumes = {each["name"] for each in spec["volumes"]}
    mounted = set()
    for each in containers(spec):
        paths = {mount["mountPath"]: mount["name"] for mount in each["volumeMounts"]}
        mounted |= set(paths.values())
        assert {"/tmp", "/etc/clipstream/settings"} <= paths.keys()
    assert mounted == volumes
    (driver,) = spec["containers"]
    assert "/dev/shm" in {mount["mountPath"] for mount in driver["volumeMounts"]}


@pytest.mark.parametrize("name", ["volume", "copied-from-s3"])
def test_a_checkpoint_on_a_volume_is_named_and_only_read(name: str) -> None:
    spec = pod(FOLDER / f"{name}.yaml")
    (driver,) = spec["containers"]
    (models,) = [each for each in driver["volumeMounts"] if each["name"] == "models"]
    assert models["readOnly"] is True
    directory = model(spec).directory
    assert directory is not None
    assert directory.parent == Path(models["mountPath"])


def test_the_copy_goes_where_the_worker_reads_and_is_pinned() -> None:
    spec = pod(FOLDER / "copied-from-s3.yaml")
    (init,) = spec["initContainers"]
    options = parsed(["clipstream", *init["args"]])
    assert options["directory"] == model(spec).directory
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", options["revision"])
    (models,) = [each for each in init["volumeMounts"] if each["name"] == "models"]
    assert not models.get("readOnly")


def test_the_hub_is_asked_for_a_commit_and_the_download_is_kept() -> None:
    spec = pod(FOLDER / "hub.yaml")
    chosen = model(spec)
    assert (chosen.name, chosen.revision) == (DEFAULT_MODEL, DEFAULT_REVISION)
    (driver,) = spec["containers"]
    paths = {mount["name"]: mount["mountPath"] for mount in driver["volumeMounts"]}
    assert str(chosen.cache_directory) == paths["models"]
    (token,) = [each for each in driver["env"] if each["name"] == "HF_TOKEN"]
    assert "value" not in token


def test_the_baked_checkpoint_is_checked_and_is_the_one_that_is_loaded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (FOLDER / "baked.Dockerfile").read_text()
    assert f"ARG IMAGE={IMAGE}\n" in text
    (program,) = re.findall(r"^RUN (\[.*\])$", text, re.MULTILINE)
    words = json.loads(program)
    (directory,) = re.findall(r"^ENV CLIPSTREAM_MODEL__DIRECTORY=(\S+)$", text, re.MULTILINE)
    assert f" . {directory}\n" in text
    # The same program, on a checkpoint that is here.
    there = str(ROOT / "workers/demo/model")
    exec(compile(words[2].replace(directory, there), "baked.Dockerfile", "exec"), {})
    assert capsys.readouterr().out.startswith("clip@sha256:")
