"""A child process with an owner: started, awaited, logged, stopped by id, never left behind."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"

PORTS = range(16384, 32768)
"""Services get ports below those that Linux gives to outgoing connections: no client takes one by
chance between the choice of a port and the start of its service."""

POLL_INTERVAL_S = 0.05
"""Seconds between two looks at something that sends no signal: a port, or a process that is not a
child."""

STOP_GRACE_S = 15.0
"""Seconds from SIGTERM to SIGKILL."""

LOG_TAIL_LINES = 20

# The child asks the kernel to be killed when its parent ends, however the parent ends, and then
# becomes the service. A hook of subprocess between fork and exec could do the same, but is unsafe
# in a program with threads. Outside Linux there is no such request, so only an orderly end of the
# command stops its services.
_LAUNCHER = """
import ctypes, os, signal, sys
parent, command = int(sys.argv[1]), sys.argv[2:]
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the process that started this one is gone")
os.execv(command[0], command)
"""


class ServiceError(RuntimeError):
    """A service of the demo or of development cannot be started; the message says what to do."""


def free_ports(count: int, address: str = LOOPBACK) -> list[int]:
    """Distinct TCP ports of ``PORTS`` that nothing on this machine's address listens on at this
    moment."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        # All are held until all are known, so that no two are the same. Drawn anew in each process,
        # however a test has seeded its random numbers.
        for port in random.SystemRandom().sample(PORTS, len(PORTS)):
            if len(found) == count:
                break
            with contextlib.suppress(OSError):
                held.enter_context(socket.create_server((address, port)))
                found.append(port)
    if len(found) < count:
        raise ServiceError(
            f"ports: {len(found)} of {count} are free between {PORTS[0]} and {PORTS[-1]} on "
            f"{address}; end what listens there"
        )
    return found


def remembered_ports(file: Path, count: int, address: str = LOOPBACK) -> list[int]:
    """Ports that the file names, so that a restarted service keeps its address. If there is no such
    file, or a port is taken, these are free ports, which are written to the file."""
    try:
        ports: list[int] = json.loads(file.read_text())
        for port in ports:
            socket.create_server((address, port)).close()
    except (OSError, ValueError):
        ports = free_ports(count, address)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(ports))
    return ports


def service_environment() -> dict[str, str]:
    """The part of this process's environment that a service gets: no credentials, and no options
    for other programs on the same runtime (``JAVA_TOOL_OPTIONS``, ``PYTHONWARNINGS``)."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "TZ")
    return {name: os.environ[name] for name in kept if name in os.environ}


def command_environment() -> dict[str, str]:
    """The environment for a `clipstream` command with a settings file of its own: without the
    user's settings and the user's Ray cluster."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CLIPSTREAM_") and name != "RAY_ADDRESS"
    }


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process, told apart from a later process with the same number.

    ``started`` is the boot, and the clock tick in it at which the process began (Linux).
    """

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """Identity of the running process ``pid``; None if there is none.

        A process that has ended counts as none even before its exit status is collected.
        """
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The name in parentheses may hold spaces and parentheses: count fields from its end.
        fields = stat.rpartition(")")[2].split()
        state, start_tick = fields[0], fields[19]
        if state in "ZX":
            return None
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return cls(pid, f"{boot}:{start_tick}")

    @property
    def running(self) -> bool:
        return ProcessIdentity.of(self.pid) == self

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """End the process, by SIGKILL if SIGTERM does not work in time. Touches no other
        process."""
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            if not self.running:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal_number)
            deadline = time.monotonic() + grace_s
            while self.running and time.monotonic() < deadline:
                time.sleep(POLL_INTERVAL_S)
        if self.running:
            raise ServiceError(
                f"process {self.pid}: still there {grace_s:g} s after SIGKILL; "
                "it hangs in the kernel; check its disk"
            )


class ChildProcess:
    """One service process: started, watched by a thread of its own, stopped.

    The child gets no terminal, a session of its own, and a log file that is appended to. Ctrl-C
    therefore reaches only the command, which then stops its services in order. Unless ``detached``,
    the child is killed when this process ends. It can be started again after it has ended.

    ``inherits`` are file descriptors that the child gets and keeps open; they must be open here at
    the start. A lock on one of them is held as long as the child runs.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str],
        inherits: Sequence[int] = (),
        detached: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [str(part) for part in command]
        self._inherits = tuple(inherits)
        self._environment = dict(environment)
        self._detached = detached
        self._popen: subprocess.Popen[bytes] | None = None
        self._failure: OSError | None = None
        self._ended = threading.Event()
        self._signalling = threading.Lock()

    @property
    def pid(self) -> int:
        """Id of the running service itself, not of a wrapper."""
        if self._popen is None or self._ended.is_set():
            raise ServiceError(f"{self.name}: not running; start it first")
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen is not None and not self._ended.is_set()

    def start(self) -> None:
        """Begin the process. It does not answer yet: see ``wait_until``."""
        if self.running:
            raise ServiceError(f"{self.name}: already running as process {self.pid}; stop it first")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._ended.clear()
        self._popen, self._failure = None, None
        started = threading.Event()
        # The kernel ends the child when the thread that started it ends, not when the process ends.
        # So that thread lives as long as the child: it waits for it.
        threading.Thread(
            target=self._own, args=(started,), name=f"owner of {self.name}", daemon=True
        ).start()
        started.wait()
        if self._failure is not None:
            raise ServiceError(f"{self.name}: cannot run {self._command[0]} ({self._failure})")

    def _own(self, started: threading.Event) -> None:
        command = self._command
        if not self._detached:
            launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
            command = [*launcher, *command]
        try:
            with self.log.open("ab") as log:
                self._popen = subprocess.Popen(  # noqa: S603 - the caller's own command, no shell
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    start_new_session=True,
                    pass_fds=self._inherits,
                )
        except OSError as failure:
            self._failure = failure
            return
        finally:
            started.set()
        # The end is noticed first, and the status is collected under the lock. Until it is
        # collected, its number cannot become another process's, so a signal under the same lock
        # never reaches a stranger.
        os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOWAIT)
        with self._signalling:
            self._popen.wait()
            self._ended.set()

    def wait_until(self, answers: Callable[[], bool], *, within_s: float) -> None:
        """Block until ``answers`` is true.

        Raises ``ServiceError`` with the end of the log if the process ends before, or does not
        answer in time. Whatever is raised, the process has been stopped.
        """
        problem: str | None = "interrupted"
        try:
            problem = self._watch(answers, within_s)
        finally:
            if problem is not None:
                self.stop()
        if problem is not None:
            raise ServiceError(
                f"{self.name}: {problem}; the end of {self.log} says:\n{self.log_tail()}"
            )

    def _watch(self, answers: Callable[[], bool], within_s: float) -> str | None:
        deadline = time.monotonic() + within_s
        while not answers():
            if self._ended.wait(POLL_INTERVAL_S):
                return f"ended with status {self.exit_status} before it answered"
            if time.monotonic() > deadline:
                return f"no answer within {within_s:g} s"
        return None

    @property
    def exit_status(self) -> int | None:
        """Exit status once the process has ended; minus the signal's number if a signal ended
        it."""
        return self._popen.returncode if self._popen and self._ended.is_set() else None

    def log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """End the process, by SIGKILL if SIGTERM does not work in time. Idempotent."""
        if self._signal(signal.SIGTERM) and not self._ended.wait(grace_s):
            self.kill()

    def kill(self) -> None:
        """End the process at once, as a crash would. Idempotent."""
        if self._signal(signal.SIGKILL):
            self._ended.wait()

    def _signal(self, signal_number: int) -> bool:
        """Send a signal. Returns False if there is no process to send it to."""
        with self._signalling:
            if self._popen is None or self._ended.is_set():
                return False
            os.kill(self._popen.pid, signal_number)
            return True
