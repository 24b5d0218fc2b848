"""Who gets the processors: a session may take only what nobody else wants (Linux)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def yield_to_all(leader: int) -> None:
    """Run the leader of a session, and what it starts from now on, only on a processor that has
    nothing else to do."""
    _schedule(leader, os.SCHED_IDLE)
    _weigh(leader, 19)


def take_part(leader: int) -> None:
    """Run all processes of the session as any other again, where the kernel lets this user."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            pid = int(folder.name)
            if os.getsid(pid) == leader:
                for thread in (folder / "task").iterdir():
                    _schedule(int(thread.name), os.SCHED_OTHER)
    _weigh(leader, 0)


def _schedule(thread: int, policy: int) -> None:
    with contextlib.suppress(OSError):
        os.sched_setscheduler(thread, policy, os.sched_param(0))


def _weigh(leader: int, nice: int) -> None:
    """The kernel may share processors among sessions first: then the session's weight counts."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{leader}/autogroup").write_text(str(nice))
