"""The real driver in the tests' own process, stopped as a person stops it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from workers.commands import stream
from workers.settings.loading import Settings
from workers.supervise.supervisor import ExitCode


def run_driver_during(
    look: Callable[[], None], settings: Settings, request: pytest.FixtureRequest
) -> ExitCode:
    """Run the driver while ``look`` runs in a thread; SIGTERM ends it after that."""

    def look_and_stop() -> None:
        try:
            look()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    # The driver's own handler stands while it runs; what it finds before stands after it.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    request.addfinalizer(lambda: signal.signal(signal.SIGTERM, before))
    looking = threading.Thread(target=look_and_stop)
    looking.start()
    code = stream.run_stream(settings, None)
    looking.join()
    return code
