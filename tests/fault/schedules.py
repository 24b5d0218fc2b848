"""Schedules: which worker fails how at which step, drawn from a seed."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import get_args

from pipeline.commit.order import Order
from tests.rigs.stages.fault_steps import Step
from tests.rigs.stages.pipeline_of_fakes import MISSING

PARTITIONS = 3
WORKERS = 2
LATEST_OCCURRENCE = 5
SESSION_S = 4.0
"""A worker that is silent for so long loses its partitions."""


class Kind(StrEnum):
    """What happens to a worker.

    ``freeze`` outlasts the session: a zombie comes back. ``replace`` freezes it and starts another
    process in its place, as a scheduler does with a node that it cannot reach.
    """

    KILL = "kill"
    FREEZE = "freeze"
    REPLACE = "replace"
    CUT = "cut"
    STALL = "stall"


@dataclass(frozen=True, slots=True)
class Fault:
    """``heal_s`` is the time until a killed worker is started again, a frozen one continues, or
    the network is whole."""

    slot: int
    step: Step
    occurrence: int
    kind: Kind
    heal_s: float


@dataclass(frozen=True, slots=True)
class Message:
    """An input record."""

    partition: int
    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """One run of the harness. The second worker joins ``joins_s`` after the first; messages from
    ``second_wave`` on are sent while the workers run. ``orders`` are those of the workers, who
    differ while a setting is rolled out."""

    index: int
    faults: tuple[Fault, ...]
    messages: tuple[Message, ...]
    second_wave: int
    joins_s: float
    orders: tuple[Order, Order]

    @property
    def order(self) -> Order:
        """What consumers may rely on."""
        return max(self.orders, key=get_args(Order).index)

    @property
    def lasts_s(self) -> float:
        """For so long the workers run at least, though everything be committed sooner: a rebalance
        takes a heartbeat or two."""
        revoked = any(fault.step is Step.REVOKE for fault in self.faults)
        return self.joins_s + (SESSION_S if revoked else 0.5)

    def __str__(self) -> str:
        faults = ", ".join(
            f"{fault.kind} worker {fault.slot} at {fault.step} {fault.occurrence} "
            f"for {fault.heal_s:.1f} s"
            for fault in self.faults
        )
        orders = " and ".join(dict.fromkeys(self.orders))
        return (
            f"schedule {self.index}: {faults}; worker 1 joins after {self.joins_s:.1f} s; order of "
            f"{orders}"
        )


def draw(seed: int, index: int) -> Schedule:
    """The schedule of that number: the same for the same seed. Steps and kinds take turns, so that
    every pair of them occurs."""
    rng = random.Random(f"{seed}:{index}")
    steps, kinds = list(Step), list(Kind)
    first = _fault(
        rng, steps[index % len(steps)], kinds[(index // len(steps)) % len(kinds)], slot=0
    )
    faults = [first]
    if rng.random() < 0.4:
        step, kind = rng.choice(steps), rng.choice(kinds)
        # Only the partitions of the worker that was there first are revoked, and once or twice.
        slot = 0 if step is Step.REVOKE else rng.randrange(WORKERS)
        if (second := _fault(rng, step, kind, slot)).step != first.step:
            faults.append(second)
    messages = tuple(_message(rng, number) for number in range(rng.randint(20, 40)))
    # Partitions are revoked from the first worker only if it had time to get them all.
    revoked = any(fault.step is Step.REVOKE for fault in faults)
    joins_s = rng.uniform(2.5, 3.5) if revoked else rng.uniform(0.0, 1.0)
    second_wave = rng.randint(5, len(messages))
    order: Order = rng.choice(get_args(Order))
    other: Order = order if rng.random() < 0.7 else rng.choice(get_args(Order))
    return Schedule(index, tuple(faults), messages, second_wave, joins_s, (order, other))


def _fault(rng: random.Random, step: Step, kind: Kind, slot: int) -> Fault:
    heal_s = {
        # At once, or after others have taken the partitions over.
        Kind.KILL: rng.choice((0.0, 0.3, SESSION_S + 1.0)),
        Kind.FREEZE: SESSION_S + rng.uniform(0.3, 1.5),
        Kind.REPLACE: rng.uniform(0.5, SESSION_S + 1.0),
        Kind.CUT: rng.uniform(0.1, SESSION_S + 1.0),
        Kind.STALL: rng.uniform(0.1, SESSION_S + 1.0),
    }[kind]
    latest = 1 if step is Step.REVOKE else LATEST_OCCURRENCE
    return Fault(slot, step, rng.randint(1, latest), kind, heal_s)


def _message(rng: random.Random, number: int) -> Message:
    key = f"key-{rng.randrange(6)}".encode()
    partition = rng.randrange(PARTITIONS)
    nature = rng.random()
    if nature < 0.06:
        return Message(partition, key, None)
    if nature < 0.12:
        return Message(partition, key, b"{no json")
    count = rng.randint(2, 4) if nature < 0.3 else 1
    references = [
        {
            "bucket": "images",
            "key": f"{MISSING if rng.random() < 0.1 else 'image'}-{number}-{index}",
        }
        for index in range(count)
    ]
    return Message(partition, key, json.dumps(references if count > 1 else references[0]).encode())
