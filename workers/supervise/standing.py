"""The state of the driver's places for workers, for probes, metrics and messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline import metrics
from pipeline.ports import Meter
from workers.supervise.slot import Slot


class State(StrEnum):
    """The state of a place."""

    READY = "ready"
    """A worker takes in work, or would if there were a partition for it."""
    HELD = "held"
    """A worker runs, but the store, the broker or its own silence holds it up."""
    STARTING = "starting"
    """A worker is being built, or will be restarted in a moment."""
    WAITING = "waiting"
    """Ray has no room for the worker."""
    EMPTY = "empty"
    """No worker: a fault of the node keeps workers from running here."""
    LEAVING = "leaving"
    """The worker is no longer wanted and is ending."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One look at all places. ``empty`` counts the empty places by code. ``lines`` are for
    people. ``metrics_at`` has each place's number, with the address of its worker's metrics or
    None. ``deaths`` counts the workers that have died so far."""

    ready: bool
    states: Mapping[State, int]
    empty: Mapping[str, int]
    lines: tuple[str, ...]
    metrics_at: Mapping[int, str | None] = field(default_factory=dict)
    deaths: int = 0


NOTHING_YET = Standing(ready=False, states={}, empty={}, lines=())


def state_of(slot: Slot) -> State:
    """The state of one place."""
    if slot.leaving:
        return State.LEAVING
    if slot.fresh is not None and slot.fresh.available:
        return State.READY
    if slot.health is not None:
        return State.HELD
    if slot.empty:
        return State.EMPTY
    return State.WAITING if slot.waiting_s is not None else State.STARTING


def standing_of(
    slots: Iterable[Slot], min_ready: int, *, stopping: bool, deaths: int = 0
) -> Standing:
    """The states of the places in use."""
    states = {slot: state_of(slot) for slot in slots}
    ready = sum(state is State.READY for state in states.values())
    lines = [f"{ready} of {len(states)} workers take in work"]
    if stopping:
        lines.append("the driver is stopping")
    lines += [_line(slot, state) for slot, state in states.items() if state is not State.READY]
    return Standing(
        ready=ready >= min_ready and not stopping,
        states=Counter(states.values()),
        empty=Counter(
            slot.trouble.code
            for slot, state in states.items()
            if state is State.EMPTY and slot.trouble is not None
        ),
        lines=tuple(lines),
        metrics_at={slot.number: slot.metrics_at for slot in states},
        deaths=deaths,
    )


def _line(slot: Slot, state: State) -> str:
    where = f"place {slot.number}"
    if state is State.EMPTY and slot.trouble is not None:
        trouble = slot.trouble
        return f"{where} is empty: {trouble.code} on node {trouble.node}; {trouble.remedy}"
    if state is State.WAITING and slot.handle is not None:
        return (
            f"{where} has waited for {slot.waiting_s or 0:.0f} s: Ray has no room for "
            f"{slot.handle.wants}"
        )
    return f"{where}: its worker is {state}"


class DriverGauges:
    """Sets the driver's metrics to the state of the places."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._codes: set[str] = set()
        self._deaths = 0

    def follow(self, standing: Standing) -> None:
        """Expose this look, and nothing of the previous one."""
        for state in State:
            self._meter.set(metrics.DRIVER_WORKERS, standing.states.get(state, 0), state=state)
        for code in self._codes - standing.empty.keys():
            self._meter.forget(metrics.DRIVER_EMPTY, code=code)
        for code, places in standing.empty.items():
            self._meter.set(metrics.DRIVER_EMPTY, places, code=code)
        self._codes = set(standing.empty)
        self._meter.add(metrics.WORKER_DEATHS, standing.deaths - self._deaths)
        self._deaths = standing.deaths
