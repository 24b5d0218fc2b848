"""`clipstream serve --with-stream`: the stream and the HTTP application end together, whoever ends
first."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.labels.label_set import LabelSetsPolicy
from tests.rigs.root import ROOT
from tests.rigs.waiting import eventually
from tests.rigs.workers.supervisor import Stage, Worker, end
from workers.cluster.serving.board import Heard, Report, State
from workers.commands.serving import serve
from workers.endpoints.driver import HealthEndpoint
from workers.endpoints.policy import EndpointsPolicy
from workers.settings.loading import Settings
from workers.supervise.slot import Ended, Fate
from workers.supervise.supervisor import ExitCode

ANSWERED = "requests are answered"

HALTED = Ended(Fate.HALTED, "kafka.offset_out_of_range", "records are gone")
LOOKS_IN_FLIGHT = 3

LONGER_S = 0.05
"""For which a worker drains after the last request was answered."""


class Both(Stage):
    """A driver whose stream and application are scripted. ``happened`` is what happened, in
    order."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.host, self.port = "127.0.0.1", 0
        self.listed_in: Path | None = None
        """The discovery file of workers and replicas, and whether its folder was there."""
        self.there = False
        self._looks_draining = 0
        super().__init__(count=1)

    # -- the stream -------------------------------------------------------------------------

    def _wait(self, seconds: float) -> None:
        super()._wait(seconds)
        time.sleep(0.001)

    def _launch(self, slot: int, avoid: frozenset[str]) -> Worker:
        worker = super()._launch(slot, avoid)
        stop = worker.stop

        def told(grace_s: float) -> None:
            eventually(lambda: ANSWERED in self.happened)
            time.sleep(LONGER_S)
            self.happened.append("the worker is stopped")
            stop(grace_s)

        worker.stop = told  # type: ignore[method-assign]
        return worker

    def _dismiss(self, slot: int, *, for_good: bool) -> Future[None]:
        done = super()._dismiss(slot, for_good=for_good)
        done.set_result(None)
        return done

    # -- the application --------------------------------------------------------------------

    def look(self, *, draining: bool) -> list[Heard]:
        """One request is in flight for some looks of a drain."""
        self._looks_draining += draining
        in_flight = int(self._looks_draining < LOOKS_IN_FLIGHT)
        if draining and not in_flight:
            self.happened.append(ANSWERED)
        said = Report("a", "here", State.READY, draining=draining, in_flight=in_flight)
        return [Heard(said, 0, 0.0)]

    def status(self) -> tuple[str, str]:
        return "RUNNING", ""

    def abandon(self) -> None:
        self.happened.append("requests are abandoned")

    def close(self) -> None:
        self.happened.append("the application ends")

    # -- the driver -------------------------------------------------------------------------

    def serve(self, discovery_file: str | None = None) -> ExitCode:
        settings = Settings(
            label_sets=LabelSetsPolicy(paths=(ROOT / "deploy/examples/label-sets",)),
            endpoints=EndpointsPolicy(health_port=0, discovery_file=discovery_file),
        )
        return serve.run_serve(settings, lambda _: None, with_stream=True)


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Both:
    both = Both()

    def join(settings: Settings, most: int) -> Any:
        file = settings.endpoints.discovery_file
        both.listed_in = None if file is None else Path(file)
        both.there = both.listed_in is not None and both.listed_in.parent.is_dir()
        return cluster

    class Endpoint(HealthEndpoint):
        def close(self) -> None:
            both.happened.append("the port of probes closes")
            super().close()

    cluster = SimpleNamespace(
        reservation=SimpleNamespace(warning=""),
        close=lambda: both.happened.append("the cluster ends"),
    )
    replaced: dict[str, Any] = {
        "Cluster": join,
        "HealthEndpoint": Endpoint,
        "ServeApplication": lambda *_, **__: both,
        "supervisor_on": lambda *_: both.supervisor,
        "stream_group": lambda *_: contextlib.nullcontext(object()),
        "serve_environment": lambda *_, **__: contextlib.nullcontext(),
        "uses_haproxy": lambda _: False,
        "check_stream": lambda _: None,
        "_require_port": lambda _: None,
        "_answers": lambda *_: True,
        "TICK_S": 0.001,
    }
    for name, value in replaced.items():
        monkeypatch.setattr(serve, name, value)
    return both


@contextlib.contextmanager
def once(holds: Callable[[], bool], act: Callable[[], object]) -> Iterator[None]:
    """Do something in a thread of its own as soon as it holds."""

    def run() -> None:
        eventually(holds)
        act()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()


IN_ORDER = ["the port of probes closes", "the application ends", "the cluster ends"]
"""On a RayCluster the head goes when the port closes. Nothing may drain any more."""


def test_sigterm_drains_both_before_anything_ends(both: Both) -> None:
    with once(lambda: both.ready, lambda: os.kill(os.getpid(), signal.SIGTERM)):
        assert both.serve() is ExitCode.OK
    assert both.happened == [ANSWERED, "the worker is stopped", *IN_ORDER]
    assert both.worker(0).stops == [30.0]
    assert not both.supervisor.standing.ready


def test_a_stream_that_halts_ends_the_application_in_order_with_its_exit_code(both: Both) -> None:
    with once(lambda: both.ready, end(both, 0, HALTED)):
        assert both.serve() is ExitCode.HALTED
    assert both.happened == [ANSWERED, *IN_ORDER]


def test_a_crash_of_the_supervisor_is_told_and_ends_the_application(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)

    def crash(_: Worker) -> None:
        raise RuntimeError("a defect, says the test")

    both.prepare = crash
    assert both.serve() is ExitCode.CRASH_LOOP
    assert both.happened == [ANSWERED, *IN_ORDER]
    assert [str(each.exc_value) for each in told] == ["a defect, says the test"]


@pytest.mark.parametrize("shared", [False, True], ids=["a Ray of our own", "a shared cluster"])
def test_replicas_learn_of_the_workers_where_both_are_on_this_machine(
    shared: bool, both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shared:
        monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    with once(lambda: both.ready, lambda: os.kill(os.getpid(), signal.SIGTERM)):
        assert both.serve() is ExitCode.OK
    assert both.there is not shared
    assert both.listed_in is None or not both.listed_in.parent.exists()


def test_a_discovery_file_of_the_settings_stays(both: Both, tmp_path: Path) -> None:
    file = str(tmp_path / "workers.json")
    with once(lambda: both.ready, lambda: os.kill(os.getpid(), signal.SIGTERM)):
        assert both.serve(file) is ExitCode.OK
    assert str(both.listed_in) == file
    assert tmp_path.is_dir()
