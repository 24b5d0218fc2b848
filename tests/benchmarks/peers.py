"""What others make of the same photographs: transformers' zero-shot pipeline, Ray Data with a plain
processor and model, infinity, and clip-retrieval, in one process each (``peer_process``)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks import peer_environments, peer_process
from tests.benchmarks.peer_environments import UnavailableError
from tests.rigs.stages.decoding import photos
from workers.embedded.processes import command_environment

PIPELINE_BATCHES = (1, 32)
NAMES = (
    *(f"pipeline_{batch}" for batch in PIPELINE_BATCHES),
    "ray_data",
    "infinity",
    "clip_retrieval",
)
FIRST_IMAGES = 32
STOP_S = 120.0
LOG_TAIL_LINES = 20
QUIET = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
"""Nothing is looked up or reported over the network."""


Turn = Callable[[int], float]
"""Classifies so many images, and returns images a second."""


@contextmanager
def running(
    names: Sequence[str], checkpoint: Path, tell: Callable[[str], None]
) -> Iterator[dict[str, Turn]]:
    """The peers' processes, ready for a turn each. Those that cannot be installed here are told,
    and left out."""
    with contextlib.ExitStack() as owned:
        folder = Path(owned.enter_context(tempfile.TemporaryDirectory(prefix="clipstream-peers-")))
        files = folder / "photos"
        files.mkdir()
        for number, body in enumerate(photos()):
            (files / f"{number:04}.jpg").write_bytes(body)
        started: dict[str, _Peer] = {}
        for name in names:
            try:
                started[name] = _Peer(name, checkpoint, files, folder / f"{name}.log", tell)
            except UnavailableError as problem:
                tell(f"goes on without the peer {problem}")
            else:
                owned.callback(started[name].stop)
        # They load beside one another.
        for name, peer in started.items():
            peer.answer()
            if name.startswith("pipeline"):  # others have images to get warm in each turn
                peer.turn(FIRST_IMAGES)
        yield {name: peer.turn for name, peer in started.items()}


class _Peer:
    """A peer's process. ``UnavailableError`` where it cannot be installed."""

    def __init__(
        self, name: str, checkpoint: Path, files: Path, log: Path, tell: Callable[[str], None]
    ) -> None:
        self._name, self._log = name, log
        python = Path(sys.executable)
        if peer_environments.has_own(name):
            python = peer_environments.interpreter(name, tell)
        threads = str(len(os.sched_getaffinity(0)))
        with log.open("w") as output:
            self._process = subprocess.Popen(
                # -P: this folder's modules must not stand in for a library's of the same name.
                [python, "-P", peer_process.__file__, name, checkpoint, files, threads],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                env=command_environment() | QUIET,
            )

    def turn(self, images: int) -> float:
        # A process that has ended is told by its answer, which is none.
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{images}\n")
            self._process.stdin.flush()
        return float(self.answer())

    def answer(self) -> str:
        """Its next line; the first one says that it has loaded."""
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            said = "\n".join(self._log.read_text().splitlines()[-LOG_TAIL_LINES:])
            raise RuntimeError(f"peer {self._name}: ended without an answer; it said:\n{said}")
        return answer

    def stop(self) -> None:
        """Without input it comes to its end by itself, or else is brought to it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
