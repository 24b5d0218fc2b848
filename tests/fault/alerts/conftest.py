"""What the tests of alerts share: one deployment for all of them, and the record of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.dev.monitoring import promtool
from tests.fault.alerts.driver import Driver
from tests.fault.alerts.pictures import keep_pictures
from tests.fault.alerts.record import Record, may_write
from tests.fault.alerts.stack import MAIN, WITHIN_S, Stack, stack
from tests.fault.alerts.watch import LOOK_S, Watch
from tests.rigs.waiting import eventually
from workers.embedded.s3 import S3Server


@pytest.fixture(scope="module")
def record(request: pytest.FixtureRequest) -> Iterator[Record]:
    """Of the template that the module's name says: ``test_stream_alerts.py`` is of ``stream``."""
    name = Path(request.node.path).stem.removeprefix("test_").removesuffix("_alerts")
    seen = Record(name)
    yield seen
    if may_write():
        seen.save()


@pytest.fixture(scope="session")
def deployed(
    s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stack, Driver]]:
    """A deployment, and the driver that runs all the time."""
    if not promtool.available():
        pytest.skip(promtool.WHAT_IT_NEEDS)
    with (
        stack(tmp_path_factory.mktemp("alerts"), s3_server) as everything,
        everything.driver(MAIN, {}) as main,
    ):
        main.until_all_work()
        # What the failure budget compares failures with.
        everything.send(everything.good(400))
        everything.until_all_is_committed()
        began = time.monotonic()
        yield everything, main
        boards = ("overview", "stream", "store", "kafka", "decisions", "gpu")
        keep_pictures(everything.prometheus, began, *boards)


@pytest.fixture
def main(deployed: tuple[Stack, Driver]) -> Driver:
    return deployed[1]


@pytest.fixture
def here(deployed: tuple[Stack, Driver]) -> Iterator[Stack]:
    """The deployment without a fault: every worker works, nothing waits, no alert fires."""
    here, main = deployed

    here.heal()
    main.until_all_work()
    here.until_all_is_committed()
    eventually(lambda: not here.prometheus.firing_alerts(), WITHIN_S, LOOK_S)
    yield here
    here.heal()


@pytest.fixture
def watch(here: Stack, record: Record) -> Callable[[], Watch]:
    """Makes a watch. Call it right before the fault."""
    return lambda: Watch(here.prometheus, record)
