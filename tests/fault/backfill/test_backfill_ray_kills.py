"""A worker, a node, drivers and whole Rays are killed in the midst of a shard, one after the other,
in one job; the judge of `make backfill-kills` counts its rows."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from deploy.dev import versitygw
from pipeline.backfill import layout
from tests.fault.backfill import ray_driver
from tests.fault.backfill.holds import ENCODING, LOOK_S, Holds
from tests.fault.backfill.judge import Committed, Rows, Verdict, judge
from tests.fault.backfill.kills import PHOTOS, Bench, bench, rows_in
from tests.fault.backfill.model import Model
from tests.fault.backfill.steps import AFTER_DATA, AFTER_ERRORS, BEFORE_DATA
from tests.rigs.backfill.in_process import run_here
from tests.rigs.left_behind import processes_of
from tests.rigs.root import ROOT
from tests.rigs.services.ray_nodes import RayNodes, ray_nodes
from tests.rigs.waiting import eventually
from workers.backfill.planning_request import Request
from workers.embedded.processes import ChildProcess, ProcessIdentity, command_environment
from workers.supervise.supervisor import ExitCode

pytestmark = [
    pytest.mark.component,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not versitygw.available(), reason=versitygw.WHAT_IT_NEEDS),
]

SOURCE = f"s3://{PHOTOS}/"
SHARDS, SHARD_ROWS = 24, 14
"""Each shard has every kind of object."""

END_S = 400.0

ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    # Ray starts processes that no worker of this job uses.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
}


class Driver:
    """A driver, and the Ray of its own if no cluster is named."""

    def __init__(self, job: Job, name: str, address: str | None) -> None:
        self._session = f"{job.output}-{name}"
        environment = command_environment() | {"DEMO_TEST_SESSION": self._session}
        if address is not None:
            environment["RAY_ADDRESS"] = address
        given = (job.here.file, SOURCE, job.output, job.folder / "holds")
        self._process = ChildProcess(
            name,
            [sys.executable, "-m", ray_driver.__name__, *given],
            log=job.folder / f"{name}.log",
            environment=environment,
        )
        self._process.start()

    def kill(self) -> None:
        self._process.kill()
        # A job of Kubernetes or of Ray runs the command again, up to its `backoffLimit`.
        assert self._process.exit_status != ExitCode.OK

    def kill_with_its_ray(self) -> None:
        self.kill()
        self.end()

    def end(self) -> None:
        """Leave nothing of it."""
        self._process.kill()
        for pid in processes_of(self._session):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: processes_of(self._session) == {})

    def completes_its_job(self) -> None:
        eventually(lambda: not self._process.running, END_S, LOOK_S)
        assert self._process.exit_status == ExitCode.OK, self._process.log_tail()


class Job:
    """A job whose workers stop where ``holds`` says, and its files so far."""

    def __init__(self, here: Bench, folder: Path) -> None:
        self.here = here
        self.folder = folder
        self.output = here.plan(SHARDS, SHARD_ROWS)
        self.holds = Holds(folder / "holds")
        self.committed = Committed()
        self.owned = contextlib.ExitStack()

    def driver(self, name: str, address: str | None = None) -> Driver:
        driver = Driver(self, name, address)
        self.owned.callback(driver.end)
        return driver

    def look(self) -> int:
        """The number of committed shards."""
        self.committed.look(self.here.files(self.output, layout.DATA))
        return len(self.committed.files)

    def close(self) -> None:
        self.holds.off()
        self.owned.close()


def test_whatever_of_ray_is_killed_each_row_is_committed_once(tmp_path: Path) -> None:
    verdict = Verdict()
    with bench() as here:
        expected = undisturbed(here)
        with (
            ray_nodes(ENVIRONMENT) as nodes,
            contextlib.closing(Job(here, tmp_path)) as job,
        ):
            a_worker_a_node_drivers_and_the_head_die(job, nodes)
            a_driver_and_its_ray_die(job, "third", AFTER_DATA)
            a_driver_and_its_ray_die(job, "fourth", ENCODING)
            assert 0 < job.look() < SHARDS
            job.holds.off()
            job.driver("last").completes_its_job()
            assert job.look() == SHARDS
        verdict.rewritten = job.committed.rewritten
        judge(expected, rows_in(here, job.output), verdict)
    assert verdict.rows == SHARDS * SHARD_ROWS
    assert verdict.clean, verdict


def undisturbed(here: Bench) -> Rows:
    output = here.plan(SHARDS, SHARD_ROWS)
    assert run_here(here.settings, Request.of(SOURCE), output, lambda _: Model()) is ExitCode.OK
    return rows_in(here, output)


def a_worker_a_node_drivers_and_the_head_die(job: Job, nodes: RayNodes) -> None:
    head, second = nodes.add(num_cpus=1), nodes.add(num_cpus=1)
    job.owned.callback(head.kill)
    job.holds.at(ENCODING)
    driver = job.driver("first", nodes.address)
    os.kill(job.holds.until_held().pid, signal.SIGKILL)
    job.holds.at(AFTER_ERRORS)
    worker = job.holds.until_held(second.id)
    nodes.lose(second)
    eventually(lambda: ProcessIdentity.of(worker.pid) is None)
    driver.kill()
    job.holds.at(BEFORE_DATA)
    driver = job.driver("second", nodes.address)
    job.holds.until_held(head.id)
    head.kill()
    driver.kill()


def a_driver_and_its_ray_die(job: Job, name: str, step: str) -> None:
    job.holds.at(step)
    driver = job.driver(name)
    job.holds.until_held()
    driver.kill_with_its_ray()
