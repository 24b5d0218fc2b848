"""The Kubernetes examples of backfills: their manifests, and their commands as the real command
line reads them."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml

from tests.rigs.command_line import parsed
from tests.rigs.root import ROOT
from workers.settings.loading import Settings

EXAMPLES = ROOT / "deploy/examples/kubernetes"
RAY_JOB = EXAMPLES / "backfill-rayjob.yaml"
CRON_JOB = EXAMPLES / "backfill-cronjob.yaml"


def documents(text: str) -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def command_of(text: str) -> list[str]:
    """The words of the `clipstream backfill run` of a shell's text."""
    (command,) = re.findall(r"clipstream backfill run .*", text.replace("\\\n", " "))
    for name, value in (("day", "2026-11-27"), ("since", "--since s3://derived/2024")):
        command = re.sub(rf"\$\{{?{name}\}}?", value, command)
    return shlex.split(command)


@pytest.fixture
def ray_job() -> dict[str, dict[str, Any]]:
    return documents(RAY_JOB.read_text())


def test_the_ray_job_runs_a_command_that_exists_and_resumes_by_itself(
    ray_job: dict[str, dict[str, Any]],
) -> None:
    spec = ray_job["RayJob"]["spec"]
    options = parsed(command_of(spec["entrypoint"]))
    assert options["source"] == "s3://photos/2024/"
    assert options["output"] == "s3://derived/2024"
    assert spec["backoffLimit"] > 0
    # KubeRay refuses to suspend a job without it, and would leave the cluster.
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["entrypointNumCpus"] == 0


def test_the_ray_job_mounts_the_settings_that_its_command_reads(
    ray_job: dict[str, dict[str, Any]],
) -> None:
    config = str(parsed(command_of(ray_job["RayJob"]["spec"]["entrypoint"]))["config"])
    cluster = ray_job["RayJob"]["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
        assert {mounts[config]} <= {each["name"] for each in pod["volumes"]}


def test_the_settings_of_the_ray_job_are_valid_and_ask_for_what_its_nodes_have(
    ray_job: dict[str, dict[str, Any]],
) -> None:
    settings = Settings(**yaml.safe_load(ray_job["ConfigMap"]["data"]["settings.yaml"]))
    (workers,) = ray_job["RayJob"]["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    pod = workers["template"]["spec"]
    gpus = int(pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])
    assert settings.workers.gpus_per_worker != "auto"
    assert (
        settings.workers.count * settings.workers.gpus_per_worker <= gpus * workers["maxReplicas"]
    )
    assert settings.workers.grace_s < pod["terminationGracePeriodSeconds"]


def test_the_daily_job_runs_a_command_that_exists_once_at_a_time() -> None:
    spec = documents(CRON_JOB.read_text())["CronJob"]["spec"]
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (line,) = container["args"]
    options = parsed(command_of(line))
    assert options["source"] == "s3://inventory/photos/daily/2026-11-27T01-00Z/manifest.json"
    assert options["output"] == "s3://derived/daily/2026-11-27"
    assert options["since"] == ["s3://derived/2024"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["backoffLimit"] > 0
    # A pod that Kubernetes starts again in place would submit under an id that is taken.
    assert pod["restartPolicy"] == "Never"
    assert '--submission-id "$HOSTNAME"' in line


def test_an_option_that_does_not_exist_is_found() -> None:
    with pytest.raises(Exception, match="no-such"):
        parsed(["clipstream", "backfill", "run", "s3://a/", "-o", "s3://b/", "--no-such"])
