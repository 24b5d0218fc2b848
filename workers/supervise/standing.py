"""How the driver's places for workers stand, for probes, metrics and messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pipeline import metrics
from pipeline.ports import Meter
from workers.supervise.slot import Slot


class State(StrEnum):
    """What is in a place."""

    READY = "ready"
    """A worker that takes in work, or would if there were a partition for it."""
    HELD = "held"
    """A worker that runs, and that the store, the broker or its own silence hold up."""
    STARTING = "starting"
    """A worker that is being built, or that is to be started anew in a moment."""
    WAITING = "waiting"
    """A worker that Ray has no room for."""
    EMPTY = "empty"
    """Nothing: its node's trouble keeps workers from running there."""
    LEAVING = "leaving"
    """A worker that is not wanted any more."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One look at all places. ``empty`` counts the empty ones by code; ``lines`` are for people."""

    ready: bool
    states: Mapping[State, int]
    empty: Mapping[str, int]
    lines: tuple[str, ...]


NOTHING_YET = Standing(ready=False, states={}, empty={}, lines=())


def state_of(slot: Slot) -> State:
    """What is in the place."""
    if slot.leaving:
        return State.LEAVING
    if slot.fresh is not None and slot.fresh.available:
        return State.READY
    if slot.health is not None:
        return State.HELD
    if slot.empty:
        return State.EMPTY
    return State.WAITING if slot.waiting_s is not None else State.STARTING


def standing_of(slots: Iterable[Slot], min_ready: int, *, stopping: bool) -> Standing:
    """How the places in use stand."""
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
    """Keeps the driver's metrics as the places stand."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._codes: set[str] = set()

    def follow(self, standing: Standing) -> None:
        """Expose this look, and nothing of the one before."""
        for state in State:
            self._meter.set(metrics.DRIVER_WORKERS, standing.states.get(state, 0), state=state)
        for code in self._codes - standing.empty.keys():
            self._meter.forget(metrics.DRIVER_EMPTY, code=code)
        for code, places in standing.empty.items():
            self._meter.set(metrics.DRIVER_EMPTY, places, code=code)
        self._codes = set(standing.empty)
