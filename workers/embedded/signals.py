"""Turns signals that ask a command to end into an orderly end that leaves nothing behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def orderly_end() -> Iterator[None]:
    """Within this context, SIGTERM and SIGHUP raise ``SystemExit`` with 128 plus the signal's
    number, as Ctrl-C raises ``KeyboardInterrupt``. Owners then stop their children and remove their
    temporary folders.

    Only the first signal counts, so that further ones do not disturb the clean-up; an impatient
    service manager sends SIGKILL. A signal that is ignored on entry (``nohup``) stays ignored. For
    the main thread. Earlier handlers are restored afterwards.
    """

    def end(number: int, _: FrameType | None) -> None:
        for each in heard:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    # None stands for a handler that is not Python's, which could not be restored.
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
