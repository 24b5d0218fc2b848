"""A process's main thread as a stream worker, until it is told to end."""

from __future__ import annotations

import signal

from workers.stream.wiring import BuiltStreamWorker


def run_until_sigterm(built: BuiltStreamWorker, grace_s: float) -> None:
    """Run the worker until SIGTERM, then stop it within ``grace_s`` and release what it owns."""
    signal.signal(signal.SIGTERM, lambda *_: built.worker.stop(grace_s))
    try:
        built.worker.run()
    finally:
        built.close()
