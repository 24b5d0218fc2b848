"""A stream on a Ray cluster of several nodes, whose nodes come, lack what they need, are taken back
and are lost: the real command, a real Kafka and a real S3."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.ports import CheckResult
from tests.fault.s3_rig import Store, Traffic, settings_of, store_behind_a_proxy
from tests.rigs.root import ROOT
from tests.rigs.services.kafka_deployment import Deployment
from tests.rigs.services.ray_nodes import RayNode, RayNodes, ray_nodes
from tests.rigs.waiting import eventually
from workers.cluster.node_survey import survey
from workers.commands.config import as_yaml
from workers.embedded.processes import command_environment
from workers.embedded.s3 import S3Server
from workers.settings.loading import Settings
from workers.supervise.node import ID_DIGITS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

EACH = 20
"""References sent in each state of the cluster."""

START_S = 120.0
NO_CREDENTIALS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
NOTICE_S = 30
SUBJECTS = {
    "secrets",
    "versions",
    "label sets",
    "model",
    "certificates",
    "credentials",
    "decoders",
    "devices",
}


class Driver:
    """`clipstream stream` on a cluster, until it is asked to stop or ends by itself."""

    def __init__(self, nodes: RayNodes, settings: Path, log: Path, *options: str) -> None:
        self._log = log
        environment = command_environment() | {
            "RAY_ADDRESS": nodes.address,
            "PYTHONPATH": str(ROOT),
        }
        with log.open("wb") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workers.cli", "stream", "-c", str(settings), *options],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def nodes(self, worker: int) -> list[str]:
        """The nodes that a worker was started on, by the first digits of their ids."""
        pattern = rf"worker {worker} starts on node \S+ \(([0-9a-f]{{{ID_DIGITS}}})\)"
        return re.findall(pattern, self.log)

    def says(self, pattern: str) -> None:
        """Wait for a line of the log; the driver goes on."""
        try:
            eventually(lambda: bool(re.search(pattern, self.log)) or not self.runs, START_S)
            assert re.search(pattern, self.log), pattern
        except AssertionError as error:
            error.add_note(self.log[-8000:])
            raise

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def ends(self) -> int:
        return self._process.wait(START_S)

    def stop(self) -> None:
        if self.runs:
            self._process.terminate()
            self._process.wait(START_S)


@contextlib.contextmanager
def driver(nodes: RayNodes, settings: Path, log: Path, *options: str) -> Iterator[Driver]:
    running = Driver(nodes, settings, log, *options)
    try:
        yield running
    finally:
        running.stop()


def short(node: RayNode) -> str:
    return node.id[:ID_DIGITS]


@pytest.fixture
def store(s3_server: S3Server) -> Iterator[Store]:
    with store_behind_a_proxy(s3_server) as store:
        yield store


def test_a_stream_outlives_the_nodes_of_its_cluster(
    kafka_bootstrap: str, store: Store, tmp_path: Path
) -> None:
    keys = iter([store.bucket.fill(EACH) for _ in range(6)])
    sent: list[str] = []
    with Deployment(kafka_bootstrap) as deployment:
        sections: dict[str, dict[str, Any]] = {
            "workers": {"count": 2, "cpus_per_worker": 1, "grace_s": 60},
            "log": {"format": "text"},
        }
        settings = settings_of(deployment, store, tmp_path, sections)
        file = tmp_path / "settings.yaml"
        file.write_text(as_yaml(settings, changed_only=True))
        traffic = Traffic(deployment, store.bucket)

        def send() -> None:
            sent.extend(each := next(keys))
            traffic.send(each)

        with ray_nodes({"PYTHONPATH": str(ROOT)}) as nodes:
            head, second = nodes.add(num_cpus=1), nodes.add(num_cpus=1)
            with driver(nodes, file, tmp_path / "first.log") as first:
                both_nodes_get_a_worker(first, {head, second})
                send()
                traffic.until_done()

                third = nodes.add(num_cpus=1)
                moved = a_node_that_is_taken_back_is_left_in_time(first, nodes, second, third)
                send()
                traffic.until_done()

                first.says(
                    rf"(?s)starts on node \S+ \({short(third)}\).*worker-{moved} .*: assigned"
                )
                send()
                third.kill()
                traffic.until_done()
                assert first.runs

                bare = nodes.add(NO_CREDENTIALS, num_cpus=1)
                node = rf"\S+ \({short(bare)}\)"
                first.says(rf"place {moved} stays empty: s3\.no_credentials on node {node}")
                send()
                traffic.until_done()
                assert first.runs
                doctor_finds_what_the_node_lacks(nodes, settings, bare)

                send()
                head.kill()
                assert first.ends() == 1, first.log[-5000:]
                assert "Failed to connect to GCS" in first.log
        with ray_nodes({"PYTHONPATH": str(ROOT)}) as nodes:
            nodes.add(num_cpus=2)
            with driver(nodes, file, tmp_path / "again.log", "--until-idle", "2") as again:
                send()
                assert again.ends() == 0, again.log[-5000:]
        traffic.until_done()
        assert traffic.classified() == sorted(sent)


def both_nodes_get_a_worker(driver: Driver, nodes: set[RayNode]) -> None:
    for worker in range(2):
        driver.says(f"worker {worker} starts on node")
    started = [node for worker in range(2) for node in driver.nodes(worker)]
    assert sorted(started) == sorted(short(node) for node in nodes)


def a_node_that_is_taken_back_is_left_in_time(
    driver: Driver, nodes: RayNodes, lost: RayNode, other: RayNode
) -> int:
    """Returns the worker that left it."""
    (worker,) = (each for each in range(2) if driver.nodes(each) == [short(lost)])
    nodes.announce_loss(lost, NOTICE_S)
    driver.says(rf"worker {worker} leaves node \S+ \({short(lost)}\)")
    driver.says(rf"worker {worker} starts on node \S+ \({short(other)}\)")
    assert "died" not in driver.log
    return worker


def doctor_finds_what_the_node_lacks(nodes: RayNodes, settings: Settings, bare: RayNode) -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_ADDRESS", nodes.address)
        checks = list(survey(settings))
    failed = [check for check in checks if check.result is CheckResult.FAILED]
    (lacking,) = failed
    assert lacking.subject.endswith(f"({short(bare)}): credentials")
    assert "no credentials in the environment" in lacking.message
    # The head's, beside those of a node that was taken back or killed a while ago.
    assert {check.subject.partition("): ")[2] for check in checks} == SUBJECTS
