"""What others make of the same photographs: transformers' zero-shot pipeline, Ray Data with a plain
processor and model, infinity, and clip-retrieval, in one process each (``peer_process``)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks import peer_environments, peer_process
from tests.decoding_rig import photos
from workers.demo.processes import command_environment

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


@contextmanager
def running(
    name: str, checkpoint: Path, tell: Callable[[str], None]
) -> Iterator[Callable[[int], float]]:
    """A peer's process; the function classifies so many images and returns images a second.

    Raises ``UnavailableError`` where the peer cannot be installed.
    """
    python = Path(sys.executable)
    if peer_environments.has_own(name):
        python = peer_environments.interpreter(name, tell)
    with tempfile.TemporaryDirectory(prefix="clipstream-peer-") as folder:
        files = Path(folder, "photos")
        files.mkdir()
        for number, body in enumerate(photos()):
            (files / f"{number:04}.jpg").write_bytes(body)
        threads = str(len(os.sched_getaffinity(0)))
        # -P: this folder's modules must not stand in for a library's of the same name.
        options = [name, str(checkpoint), str(files), threads]
        log = Path(folder, "log")
        with log.open("w") as output:
            process = subprocess.Popen(
                [python, "-P", peer_process.__file__, *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                env=command_environment() | QUIET,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        given, answers = process.stdin, process.stdout

        def turn(images: int) -> float:
            # A process that has ended is told by its answer, which is none.
            with contextlib.suppress(BrokenPipeError):
                given.write(f"{images}\n")
                given.flush()
            answer = answers.readline()
            if not answer:
                said = "\n".join(log.read_text().splitlines()[-LOG_TAIL_LINES:])
                raise RuntimeError(f"peer {name}: ended without an answer; it said:\n{said}")
            return float(answer)

        try:
            turn(FIRST_IMAGES)  # loads what it loads late
            yield turn
        finally:
            with contextlib.suppress(BrokenPipeError):
                given.close()
            answers.close()
            _await(process)


def _await(process: subprocess.Popen[str]) -> None:
    """Its end, which it comes to by itself without input, or else is brought to."""
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
