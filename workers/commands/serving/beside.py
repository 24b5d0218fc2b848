"""The stream's workers beside the HTTP application: one driver, one cluster."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.ports import Meter
from workers.commands.stream import StreamWatch, stream_places
from workers.endpoints.fleet import Place
from workers.settings.loading import Settings
from workers.supervise.standing import DriverGauges
from workers.supervise.supervisor import ExitCode, Supervisor


@contextlib.contextmanager
def workers_listed(settings: Settings) -> Iterator[Settings]:
    """The same settings with a discovery file, from which the replicas learn of the workers. For a
    Ray of our own: on other nodes the folder would not be there."""
    if settings.endpoints.discovery_file is not None:
        yield settings
        return
    with tempfile.TemporaryDirectory(prefix="clipstream-", ignore_cleanup_errors=True) as folder:
        file = str(Path(folder) / "workers.json")
        endpoints = settings.endpoints.model_copy(update={"discovery_file": file})
        yield settings.model_copy(update={"endpoints": endpoints})


class StreamBeside:
    """Runs a supervisor in a thread of its own, until ``stopping``. An end by itself, such as a
    halt, sets ``stopping`` for the rest of the driver."""

    def __init__(self, supervisor: Supervisor, stopping: threading.Event, meter: Meter) -> None:
        self._supervisor = supervisor
        self._stopping = stopping
        self._watch = StreamWatch(stopping, DriverGauges(meter))
        self._exit_code: ExitCode | None = None
        self._thread = threading.Thread(target=self._run, name="stream")
        self._thread.start()

    @property
    def healthy(self) -> bool:
        return self._watch.healthy

    @property
    def ready(self) -> bool:
        return self._supervisor.standing.ready

    @property
    def lines(self) -> Sequence[str]:
        return self._supervisor.standing.lines

    def places(self, settings: Settings) -> Sequence[Place]:
        """The places for workers, for whoever collects their metrics."""
        return stream_places(settings, self._supervisor)

    def close(self) -> ExitCode:
        """Drain the workers, and wait for their end."""
        self._stopping.set()
        self._thread.join()
        return self._exit_code or ExitCode.OK

    def _run(self) -> None:
        # A crash of the supervisor ends the driver too, loudly: the thread's exception is printed.
        self._exit_code = ExitCode.CRASH_LOOP
        try:
            self._exit_code = self._supervisor.run(None, self._watch.tick)
        finally:
            self._stopping.set()
