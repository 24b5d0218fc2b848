"""Stops workers at a step of a shard's life, until a test lets them go on: what is killed then is
killed in the midst of a shard, every time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.rigs.waiting import eventually
from workers.embedded.processes import ProcessIdentity

ENCODING = "encoding"
"""A step beside those of ``steps``: a batch of a shard is with the model."""

START_S = 180.0
"""Within which a worker comes to a step: Ray and its workers start on a busy machine."""

LOOK_S = 0.05


@dataclass(frozen=True)
class Held:
    """A worker's process that is stopped at a step."""

    pid: int
    node: str
    step: str


class Holds:
    """A folder that a test and its workers share. Every worker that comes to the step stops
    there."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._at = folder / "at"

    # -- of the test ------------------------------------------------------------------------

    def at(self, step: str) -> None:
        """Let workers go on, and stop them at another step."""
        _put(self._at, step)

    def off(self) -> None:
        self.at("")

    def until_held(self, node: str | None = None) -> Held:
        """A living worker that is stopped at the step, of this node if one is named."""
        found: list[Held] = []

        def some() -> bool:
            found[:] = [each for each in self._held() if node in (None, each.node)]
            return bool(found)

        eventually(some, START_S, LOOK_S)
        return found[0]

    # -- of the workers ---------------------------------------------------------------------

    def reached(self, step: str, node: str) -> None:
        """Stop here for as long as the test says so."""
        pid = os.getpid()
        while self._step() == step:
            # Again and again: another thread of the process may go on, and take it back.
            _put(self._told(pid), json.dumps(asdict(Held(pid, node, step))))
            time.sleep(LOOK_S)
        self._told(pid).unlink(missing_ok=True)

    # -- inside -----------------------------------------------------------------------------

    def _held(self) -> Iterator[Held]:
        step = self._step()
        for file in self._folder.glob("held-*"):
            try:
                held = Held(**json.loads(file.read_text()))
            except FileNotFoundError:
                continue
            if held.step == step and ProcessIdentity.of(held.pid) is not None:
                yield held

    def _step(self) -> str:
        return self._at.read_text() if self._at.exists() else ""

    def _told(self, pid: int) -> Path:
        return self._folder / f"held-{pid}"


def _put(file: Path, text: str) -> None:
    """Whole, whoever reads it meanwhile."""
    written = file.with_name(f".{file.name}-{os.getpid()}-{time.monotonic_ns()}")
    written.write_text(text)
    written.replace(file)
