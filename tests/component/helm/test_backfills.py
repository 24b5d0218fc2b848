"""Backfills: a Job, a RayJob or a CronJob, whose commands the real command line reads."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.rigs.charts import SMALL, Object, containers, environment, kinds, objects, one, refusal
from tests.rigs.command_line import parsed

ONCE = {
    "name": "archive",
    "source": "s3://photos/it's 2024/",
    "output": "s3://derived/2024",
    "args": ["--gpu-hour-price", "2.50", "--where", "size > 1000"],
}
DAILY = {
    "name": "daily",
    "schedule": "0 6 * * *",
    "source": "s3://inventory/daily/${DAY}T01-00Z/manifest.json",
    "output": "s3://derived/daily/${DAY}",
}


def jobs(*given: Any, **more: Any) -> list[Object]:
    return objects({**SMALL, "backfill": {"jobs": list(given)}, **more})


def test_a_job_runs_the_command_and_resumes() -> None:
    job = one(jobs(ONCE, doctor={"enabled": False}), "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    options = parsed(["clipstream", *container["args"]])
    assert options["source"] == "s3://photos/it's 2024/"
    assert options["output"] == "s3://derived/2024"
    assert str(options["config"]) in {
        f"{each['mountPath']}/settings.yaml" for each in container["volumeMounts"]
    }
    assert job["spec"]["backoffLimit"] == 10
    ignore, fail = job["spec"]["podFailurePolicy"]["rules"]
    assert ignore["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    # Wrong settings, and a halt that a person must mend.
    assert fail["onExitCodes"]["values"] == [2, 3]
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_a_changed_job_has_another_name() -> None:
    def name(**more: Any) -> str:
        manifest = jobs({**ONCE, **more}, doctor={"enabled": False})
        return str(one(manifest, "Job")["metadata"]["name"])

    assert name() == name()
    assert name() != name(output="s3://derived/2025")
    assert name() != name(settings={"workers": {"count": 2}})
    # To let it start changes no name.
    assert name() == name(suspend=True)


def test_a_ray_job_has_a_cluster_of_its_own() -> None:
    manifest = jobs({**ONCE, "replicas": 4, "gpu": {"count": 1}}, mode="kuberay")
    job = one(manifest, "RayJob")["spec"]
    options = parsed(shlex.split(job["entrypoint"]))
    assert options["source"] == "s3://photos/it's 2024/"
    assert options["where"] == "size > 1000"
    assert job["backoffLimit"] > 0
    assert job["shutdownAfterJobFinishes"] is True
    assert job["entrypointNumCpus"] == 0
    cluster = job["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    assert group["replicas"] == 4
    assert group["rayStartParams"]["num-gpus"] == "1"
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    # The pod that submits the job asks the dashboard, with the cluster's token.
    assert cluster["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "0.0.0.0"
    assert cluster["authOptions"] == {"mode": "token"}
    # Ray kills a stopped job after 3 s otherwise.
    assert environment(head)["RAY_JOB_STOP_WAIT_TIME_S"] == "50"
    assert "lifecycle" not in head
    # The job's driver runs in this container, and Prometheus finds its port by this name.
    assert {"name": "health", "containerPort": 8080} in head["ports"]
    (submitter,) = job["submitterPodTemplate"]["spec"]["containers"]
    assert submitter["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("mode", ["deployment", "kuberay"])
def test_a_schedule_is_a_cron_job(mode: str) -> None:
    manifest = jobs(DAILY, mode=mode)
    assert "RayJob" not in kinds(manifest)
    spec = one(manifest, "CronJob")["spec"]
    assert spec["timeZone"] == "Etc/UTC"
    assert spec["concurrencyPolicy"] == "Forbid"


@pytest.mark.parametrize("mode", ["deployment", "kuberay"])
def test_kueue_admits_each_job(mode: str) -> None:
    queue = {"kueue.x-k8s.io/queue-name": "gpus"}
    queued = {"mode": mode, "kueue": {"queueName": "gpus"}, "doctor": {"enabled": False}}
    job = one(jobs(ONCE, **queued), "Job" if mode == "deployment" else "RayJob")
    assert queue.items() <= job["metadata"]["labels"].items()
    # Kueue knows no CronJob, but the Jobs that it makes.
    scheduled = one(jobs(DAILY, **queued), "CronJob")
    assert queue.items() <= scheduled["spec"]["jobTemplate"]["metadata"]["labels"].items()


def script_of(*given: Any) -> str:
    manifest = jobs(*given)
    pod = one(manifest, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]
    (container,) = containers(pod)
    assert container["command"] == ["tini", "--", "bash", "-euc"]
    assert environment(container)["JOB"]["fieldRef"]["fieldPath"].endswith("job-name']")
    (script,) = container["args"]
    return str(script)


def run(script: str, folder: Path, job: str, known: str = "") -> list[list[str]]:
    """The commands that a script runs, with a `clipstream` that knows the jobs of some days."""
    command = folder / "clipstream"
    command.write_text(
        "#!/bin/bash\n"
        f'printf "%s\\n" "$*" >> {folder}/ran\n'
        f'[ "$2" != status ] || [[ " {known} " == *" $3 "* ]]\n'
    )
    command.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euc", script],
        env={"PATH": f"{folder}:/usr/bin:/bin", "JOB": job},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in (folder / "ran").read_text().splitlines()]


SCHEDULED = "live-clipstream-daily-29936520"
"""2026-12-02 at 06:00, in minutes since 1970."""


def test_a_scheduled_job_takes_the_day_of_its_schedule(tmp_path: Path) -> None:
    (command,) = run(script_of(DAILY), tmp_path, SCHEDULED)
    options = parsed(["clipstream", *command])
    assert options["source"] == "s3://inventory/daily/2026-12-02T01-00Z/manifest.json"
    assert options["output"] == "s3://derived/daily/2026-12-02"


def test_a_scheduled_job_leaves_out_what_earlier_days_have(tmp_path: Path) -> None:
    script = script_of(
        {**DAILY, "firstDay": "2026-11-29", "args": ["--since", "s3://derived/2024"]}
    )
    known = "s3://derived/daily/2026-11-29 s3://derived/daily/2026-12-01"
    *_, command = run(script, tmp_path, SCHEDULED, known)
    assert parsed(["clipstream", *command])["since"] == ["s3://derived/2024", *known.split()]


def test_a_job_started_by_hand_takes_today(tmp_path: Path) -> None:
    (command,) = run(script_of(DAILY), tmp_path, "by-hand")
    assert "${DAY}" not in " ".join(command)
    assert parsed(["clipstream", *command])["output"].startswith("s3://derived/daily/20")


def test_a_jobs_settings_are_those_of_the_release_and_its_own() -> None:
    manifest = jobs(
        {**ONCE, "settings": {"workers": {"count": 4}}},
        settings={"workers": {"gpus_per_worker": 0}},
    )
    text = one(manifest, "ConfigMap", "live-clipstream-archive-settings")["data"]["settings.yaml"]
    assert yaml.safe_load(text)["workers"] == {"count": 4, "gpus_per_worker": 0}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([{"name": "a", "source": "s3://b/"}], "needs source and output"),
        ([ONCE, ONCE], "two jobs are called archive"),
        (
            [{**ONCE, "schedule": "0 6 * * *", "firstDay": "2026-11-01"}],
            "write ${DAY} in its output",
        ),
    ],
)
def test_jobs_that_cannot_work_are_refused(given: list[Any], words: str) -> None:
    assert words in refusal({**SMALL, "backfill": {"jobs": given}})


def test_a_release_can_be_backfills_alone() -> None:
    manifest = jobs(ONCE, stream={"enabled": False})
    assert kinds(manifest) == {"ConfigMap", "ServiceAccount", "Job"}
