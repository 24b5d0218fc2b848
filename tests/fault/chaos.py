"""`make chaos`: workers are killed, frozen and cut off at every step, and a judge looks at what a
downstream consumer sees."""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import queue
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.fault.chaos_worker import Sabotage
from tests.fault.lane import DEADLINE_S, Lane, Outcome, met
from tests.fault.proxy import ProxyLoop
from tests.fault.schedules import WORKERS, Schedule, draw
from tests.rigs.checkout import commit
from tests.rigs.root import RESULTS
from tests.rigs.services.broker_settings import IMPATIENT_BROKER
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.processes import free_ports

LANES = 8
SUMMARY = RESULTS / "chaos-summary.json"

# Each proxied listener has network threads of its own.
PROPERTIES = {**IMPATIENT_BROKER, "num.network.threads": "1"}


@dataclass
class Harness:
    """A broker, and lanes on it. Built by ``harness``."""

    lanes: list[Lane]

    def run(
        self,
        schedules: Sequence[Schedule],
        on_end: Callable[[Outcome], None] = lambda outcome: None,
        sabotage: Sabotage = Sabotage.NONE,
        deadline_s: float = DEADLINE_S,
    ) -> list[Outcome]:
        """Run the schedules on all lanes; returns their outcomes by index."""
        waiting: queue.SimpleQueue[Schedule] = queue.SimpleQueue()
        for schedule in schedules:
            waiting.put(schedule)
        outcomes: list[Outcome] = []
        failures: list[BaseException] = []

        def work(lane: Lane) -> None:
            try:
                while not failures:
                    outcome = lane.run(waiting.get_nowait(), sabotage, deadline_s)
                    outcomes.append(outcome)
                    on_end(outcome)
            except queue.Empty:
                return
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(lane,)) for lane in self.lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return sorted(outcomes, key=lambda outcome: outcome.schedule.index)


@contextlib.contextmanager
def harness(folder: Path, lanes: int) -> Iterator[Harness]:
    """Start a broker with a proxied listener for every worker; logs of failed schedules stay in
    ``folder``."""
    ports = free_ports(2 * WORKERS * lanes)
    listeners, proxied = ports[::2], ports[1::2]
    broker = EmbeddedKafka(
        folder / "kafka", properties=PROPERTIES, proxied=dict(zip(listeners, proxied, strict=True))
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(broker)
        loop = stack.enter_context(ProxyLoop())
        proxies = [
            loop.proxy(port, target) for port, target in zip(proxied, listeners, strict=True)
        ]
        built = []
        for number in range(lanes):
            mine = proxies[number * WORKERS : (number + 1) * WORKERS]
            lane = Lane(_forkserver(), broker.bootstrap, mine, folder)
            stack.callback(lane.close)
            built.append(lane)
        yield Harness(built)


def _forkserver() -> ForkServerContext:
    """Workers are forked from a process that has imported everything and opened nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fault.chaos_worker"])
    return context


def summary(outcomes: Sequence[Outcome], seed: int, seconds: float) -> dict[str, object]:
    verdicts = [outcome.verdict for outcome in outcomes]
    by_step, by_fault = met(list(outcomes))
    return {
        "schedules": len(outcomes),
        "by_step": by_step,
        "by_fault": by_fault,
        "by_order": dict(Counter(outcome.schedule.order for outcome in outcomes)),
        "inputs": sum(verdict.inputs for verdict in verdicts),
        "lost": sum(len(verdict.lost) for verdict in verdicts),
        "duplicated": sum(len(verdict.duplicated) for verdict in verdicts),
        "mismatched": sum(len(verdict.mismatched) for verdict in verdicts),
        "stuck": sum(len(verdict.stuck) for verdict in verdicts),
        "seed": seed,
        "seconds": round(seconds),
        "commit": commit(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="chaos")
    parser.add_argument("--schedules", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="index of the first schedule")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", type=int, default=LANES, help="schedules at the same time")
    parser.add_argument("--output", type=Path, default=SUMMARY)
    arguments = parser.parse_args()
    console = Console()
    schedules = [
        draw(arguments.seed, arguments.first + number) for number in range(arguments.schedules)
    ]
    console.print(f"seed {arguments.seed}, {len(schedules)} schedules, {arguments.lanes} lanes")
    folder = Path(tempfile.mkdtemp(prefix="clipstream-chaos-"))
    progress = Progress(
        TextColumn("schedules"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    began = time.monotonic()
    with harness(folder, min(arguments.lanes, len(schedules))) as running, progress:
        task = progress.add_task("schedules", total=len(schedules))

        def tell(outcome: Outcome) -> None:
            progress.advance(task)
            if not outcome.verdict.passed:
                console.print(f"[red]{outcome.schedule}[/]", soft_wrap=True)
                console.print(str(outcome.verdict), soft_wrap=True, markup=False)

        outcomes = running.run(schedules, tell)
    result = summary(outcomes, arguments.seed, time.monotonic() - began)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    console.print_json(data=result)
    passed = all(outcome.verdict.passed for outcome in outcomes)
    if not passed:
        console.print(f"logs of the workers that failed are in {folder}")
    # Threads of consumers may linger; nothing is left to do.
    return 0 if passed else 1


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)
