"""Runs groups: each in a session of its own, its output in a file, ended with the runner."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.dev.suite import priority
from deploy.dev.suite.groups import ROOT, Group

JOBS = 3
"""Groups at a time, on two cores. Most wait more than they compute."""

LOOK_S = 0.05
"""Between two looks at the groups that run."""

FEW_FAILED = 3
"""Failed tests of a group, at most, for which a busy machine may be the reason."""

GRACE_S = 30.0
"""From an interrupt, on which pytest stops the services that it started, to SIGKILL."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a group. ``status`` is its exit status, or minus the number of the signal
    that ended it; ``cpu_s`` counts the processes that it started and waited for."""

    group: Group
    status: int
    wall_s: float
    cpu_s: float
    output: str

    @property
    def passed(self) -> bool:
        return self.status == 0

    @property
    def counts(self) -> Mapping[str, int]:
        """Tests by what became of them, as the last line of pytest says; empty without pytest."""
        lines = re.findall(r"^=+ (.*) in [\d.]+s.* =+$", self.output, re.MULTILINE)
        said = lines[-1] if lines else ""
        return {word: int(number) for number, word in re.findall(r"(\d+) ([a-z]+)", said)}

    @property
    def skips(self) -> list[str]:
        """pytest's lines that name a skipped test and the reason."""
        return re.findall(r"^SKIPPED .*$", self.output, re.MULTILINE)

    @property
    def failed(self) -> int:
        """Tests that failed, or whose fixtures did, or that passed and should not."""
        return sum(map(self._count, ("failed", "error", "errors", "xpassed")))

    @property
    def doubtful(self) -> bool:
        """Whether the failed tests deserve a second run by themselves: at most ``FEW_FAILED``. An
        error of a fixture gets none, because pytest notes it against a test that may have no part
        in it."""
        ran_to_its_end = self.status == 1
        few = 0 < self._count("failed") == self.failed <= FEW_FAILED
        return ran_to_its_end and few and not self.group.searching

    @property
    def made_good(self) -> bool:
        """Whether every test of a second run has passed: one that is skipped has not."""
        return self.passed and not any(map(self._count, ("skipped", "xfailed")))

    def _count(self, word: str) -> int:
        return self.counts.get(word, 0)


class Running:
    """A group's process, and all that stays in its process group."""

    def __init__(self, group: Group, folder: Path, environment: Mapping[str, str]) -> None:
        self.group = group
        self._log = folder / f"{group.name}.log"
        self._began = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a command of the table, no shell
                group.arguments(_cache(folder, group)),
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if group.background:
            priority.yield_to_all(self._process.pid)

    def look(self) -> Result | None:
        """The result, once the process has ended. What it left running is killed."""
        pid = self._process.pid
        # It is collected last: until then nobody else can have its number.
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            return None
        self._signal(signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return Result(
            self.group,
            self._process.returncode,
            time.monotonic() - self._began,
            usage.ru_utime + usage.ru_stime,
            self._log.read_text(errors="replace"),
        )

    def take_part(self) -> None:
        """Compute as any other from now on."""
        priority.take_part(self._process.pid)

    def interrupt(self) -> None:
        """What Ctrl-C does at a terminal."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def may_start(group: Group, running: Iterable[Group], jobs: int) -> bool:
    """Whether the next group may run beside those that run."""
    others = [each for each in running if not each.background]
    if group.background:
        return True
    if group.alone or any(other.alone for other in others):
        return not others
    return len(others) < jobs


def next_to_start(waiting: list[Group], running: Sequence[Group], jobs: int) -> Group | None:
    """Take the group that starts now from those that wait: the first of them, or one that only
    computes, in the background of a group that has the machine for itself or waits for it. What is
    built there goes first, because others wait for it."""
    if not waiting:
        return None
    if may_start(waiting[0], running, jobs):
        return waiting.pop(0)
    if not _one_alone([waiting[0], *running]):
        return None
    if any(each.background or each.computes for each in running):
        return None
    for group in waiting:
        if group.computes:
            waiting.remove(group)
            return replace(group, background=True)
    return None


def _one_alone(groups: Iterable[Group]) -> bool:
    return any(group.alone for group in groups)


def run(
    groups: Iterable[Group],
    folder: Path,
    *,
    jobs: int = JOBS,
    environment: Mapping[str, str] | None = None,
    started: Callable[[Group], None] = lambda _: None,
) -> Generator[Result, None, None]:
    """Run the groups in their order and yield each result as soon as it is there.

    ``folder`` gets a log a group. Whatever ends the iteration early, an exception in the caller
    included, every process has ended when ``close`` returns.
    """
    waiting, running = list(groups), list[Running]()
    try:
        while waiting or running:
            if group := next_to_start(waiting, [each.group for each in running], jobs):
                own = dict(os.environ if environment is None else environment)
                if "RAY_TMPDIR" in own:  # no group may find another's Ray
                    own["RAY_TMPDIR"] += f"/{group.name}"
                    Path(own["RAY_TMPDIR"]).mkdir(exist_ok=True)
                running.append(Running(group, folder, own))
                started(group)
                if not _one_alone([*waiting, *(each.group for each in running)]):
                    # Nobody judges time any more, and others may wait for what is built.
                    for each in running:
                        if each.group.background:
                            each.take_part()
                continue
            for each in list(running):
                if result := each.look():
                    running.remove(each)
                    yield result
            time.sleep(LOOK_S)
    finally:
        _end(running)


def failed_tests(group: Group, folder: Path) -> Group:
    """The tests of the group that failed when it ran with its log in the folder."""
    only = ("--last-failed", "--last-failed-no-failures=none")
    # Short, for it becomes part of the paths of Ray's sockets.
    name = f"{group.name}-2"
    command = (*group.arguments(_cache(folder, group)), *only)
    return replace(group, name=name, command=command, background=False)


def _cache(folder: Path, group: Group) -> Path:
    return folder / f"{group.name}.cache"


def _end(running: list[Running]) -> None:
    """Interrupt all, wait, and kill what is left: in the end, or at a second Ctrl-C."""
    for each in running:
        each.interrupt()
    deadline = time.monotonic() + GRACE_S
    try:
        while running and time.monotonic() < deadline:
            running[:] = [each for each in running if each.look() is None]
            time.sleep(LOOK_S)
    finally:
        for each in running:
            each.kill()
