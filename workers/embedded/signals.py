"""Signals that ask a command to end, turned into an end that leaves nothing behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def orderly_end() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP raise ``SystemExit`` with 128 and their number, as Ctrl-C raises
    ``KeyboardInterrupt``: children are stopped and temporary folders removed by who owns them.

    The first one counts, and further ones do not disturb the cleaning up: a service manager that
    loses its patience sends SIGKILL. A signal that is ignored on entry (``nohup``) stays ignored.
    For the main thread; the handlers from before are back afterwards.
    """

    def end(number: int, _: FrameType | None) -> None:
        for each in heard:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    # None: a handler that is not Python's, which could not be put back.
    heard = {
        each: before
        for each in ENDING
        if (before := signal.getsignal(each)) not in (signal.SIG_IGN, None)
    }
    for each in heard:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each, before in heard.items():
            signal.signal(each, before)
