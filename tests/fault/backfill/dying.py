"""How processes of a backfill die: at a random moment, or at a step of a shard's life."""

from __future__ import annotations

import os
import random
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

from tests.fault.backfill.steps import STEPS

DRIVER, WORKER = "driver at a moment", "worker at a moment"
HOW = (DRIVER, WORKER, *STEPS)
"""How processes die; at a step it is a worker that does."""

MOMENTS_S = (0.3, 3.0)


@dataclass(frozen=True)
class Fates:
    """Draws how a process dies. ``counted`` is a file with a line for each death; once it has
    ``kills`` of them, processes live."""

    counted: Path
    kills: int

    @property
    def met(self) -> list[str]:
        """How processes died, in order: of ``HOW``."""
        return self.counted.read_text().splitlines() if self.counted.exists() else []

    @property
    def deaths(self) -> int:
        return len(self.met)

    def of_worker(self, rng: random.Random) -> str | None:
        """``moment``, or one of ``STEPS``; None once enough have died."""
        if self.deaths >= self.kills:
            return None
        return rng.choice(("moment", "moment", "moment", *STEPS))

    def of_driver(self, rng: random.Random) -> str | None:
        return "moment" if self.deaths < self.kills and rng.random() < 0.4 else None

    def die(self, how: str) -> None:
        """SIGKILL of this process."""
        with self.counted.open("ab") as file:
            file.write(f"{how}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    def at_some_moment(self, rng: random.Random, who: str, *, scale: float = 1.0) -> None:
        """Let this process, a ``DRIVER`` or a ``WORKER``, die soon."""
        timer = threading.Timer(scale * rng.uniform(*MOMENTS_S), self.die, [who])
        timer.daemon = True
        timer.start()
