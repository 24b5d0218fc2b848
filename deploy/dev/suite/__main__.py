"""Runs the groups that are named, or all.

When at most three tests of a group fail, only these run again after all groups, one group at a
time, because processors that others use too may be the reason. If they pass, the run passes, still
prints the group's first output, and names the group unsteady. Groups that try random orders of
events or random inputs get no second run.

Status 1: a group failed; 2: no group has that name; 130 or 143: ended by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from deploy.dev.suite import summary
from deploy.dev.suite.groups import GROUPS, Group
from deploy.dev.suite.running import JOBS, Result, failed_tests, run
from workers.embedded.signals import orderly_end

NOT_FOR_GROUPS = {
    # This run's own business, not that of a `make` in a test.
    "MAKEFLAGS",
    # Thousands of processes would each compile the project anew.
    "PYTHONDONTWRITEBYTECODE",
}
"""Variables of this process that its groups do not have."""


def main(arguments: Sequence[str] | None = None, groups: Sequence[Group] = GROUPS) -> int:
    parser = argparse.ArgumentParser(prog="deploy.dev.suite", description=__doc__)
    names = [group.name for group in groups]
    parser.add_argument("group", nargs="*", help=f"one of {', '.join(names)}; default: all")
    parser.add_argument("--jobs", type=int, default=JOBS, help="groups at a time (%(default)s)")
    parser.add_argument("--list", action="store_true", help="say what each group guards")
    chosen = parser.parse_args(arguments)
    if unknown := sorted({*chosen.group} - {*names}):
        parser.error(f"no group is called {', '.join(unknown)}; there are {', '.join(names)}")
    if chosen.list:
        for group in groups:
            print(f"{group.name:<10} {group.guards}")
        return 0
    wanted = [group for group in groups if not chosen.group or group.name in chosen.group]
    # A shell has its background jobs ignore Ctrl-C, and their children too: they could not be ended
    # in order.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with orderly_end():
            return _run(wanted, chosen.jobs)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _run(groups: Sequence[Group], jobs: int) -> int:
    results: list[Result] = []
    second: dict[str, Result] = {}
    environment = {name: value for name, value in os.environ.items() if name not in NOT_FOR_GROUPS}
    began = time.monotonic()
    with ExitStack() as stack:
        logs = stack.enter_context(tempfile.TemporaryDirectory(prefix="clipstream-test-"))
        # Nobody else's Ray must be found, and paths of its sockets must be short.
        short = os.environ.get("RAY_TMPDIR", "/tmp")  # noqa: S108 - Ray's own default
        Path(short).mkdir(parents=True, exist_ok=True)
        environment["RAY_TMPDIR"] = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="test-", dir=short, ignore_cleanup_errors=True)
        )

        def ended(groups: Sequence[Group], jobs: int) -> Generator[Result, None, None]:
            running = run(
                groups,
                Path(logs),
                jobs=jobs,
                environment=environment,
                started=lambda it: _say(f"{it.name:<10} started, log: {logs}/{it.name}.log"),
            )
            with closing(running):
                for result in running:
                    _say(summary.line(result))
                    yield result

        try:
            with closing(ended(groups, jobs)) as running:
                for result in running:
                    results.append(result)
            for result in results:
                if result.doubtful:
                    with closing(ended([failed_tests(result.group, Path(logs))], 1)) as running:
                        (second[result.group.name],) = running
        finally:
            _tell(results, second, groups, time.monotonic() - began)
    return 1 if _failed(results, second) else 0


def _failed(results: Sequence[Result], second: Mapping[str, Result]) -> list[str]:
    made_good = {name for name, result in second.items() if result.made_good}
    names = [result.group.name for result in results if not result.passed]
    return [name for name in names if name not in made_good]


def _tell(
    results: Sequence[Result],
    second: Mapping[str, Result],
    wanted: Sequence[Group],
    wall_s: float,
) -> None:
    for output in summary.failures([*results, *second.values()]):
        _say(output)
    for skipped in summary.skips([*results, *second.values()]):
        _say(skipped)
    if results:
        _say(f"\n{summary.table(results)}\n")
    ended = {result.group.name for result in results}
    failed = _failed(results, second)
    unsteady = [name for name in second if name not in failed]
    unfinished = [group.name for group in wanted if group.name not in ended]
    _say(
        f"{len(results)} of {len(wanted)} groups ran in {wall_s / 60:.1f} minutes; "
        f"failed: {', '.join(failed) or 'none'}"
        + (f"; unsteady, passed in a second run: {', '.join(unsteady)}" if unsteady else "")
        + (f"; not finished: {', '.join(unfinished)}" if unfinished else "")
    )


def _say(text: str) -> None:
    # At once, also into a file or a pipe.
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
