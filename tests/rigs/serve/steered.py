"""`clipstream serve` with an encoder that waits or fails as files of a folder say.

Run as a program: ``python -m tests.rigs.serve.steered SETTINGS FOLDER``."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.errors import Halt, WorkerLost
from pipeline.ports import Encoder
from pipeline.records import Pixels, Vector
from workers.commands.serving.serve import run_serve
from workers.logs import configure_logging
from workers.settings.loading import Settings, load_settings

HOLD = "hold"
"""While this file is there, a batch waits."""
LOSE = "lose"
"""The next batch that was not held sees this file, and loses the device. The client of a batch that
was held may have gone: such a batch still goes on, a moment after the hold."""
REFUSE = "refuse"
"""While this file is there, the model cannot be loaded."""

LOOK_S = 0.02


class SteeredEncoder(MemoryEncoder):
    """A memory encoder that looks into a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def encode_images(self, pixels: Pixels) -> Vector:
        was_held = False
        while (self._folder / HOLD).exists():
            was_held = True
            time.sleep(LOOK_S)
        if was_held:
            return super().encode_images(pixels)
        try:
            (self._folder / LOSE).unlink()
        except FileNotFoundError:
            return super().encode_images(pixels)
        raise WorkerLost("encode.device", "encode: the device is lost, says the test")


def load(folder: Path, _: Settings) -> Encoder:
    """Runs in the replica."""
    if (folder / REFUSE).exists():
        raise Halt("model.not_found", "model: it is not there, says the test")
    return SteeredEncoder(folder)


def tell(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    file, folder = sys.argv[1:]
    settings = load_settings(Path(file), environment=os.environ)
    configure_logging(settings.log, "driver")
    # By its module's name, which replicas can import. This module has another name here.
    from tests.rigs.serve import steered

    try:
        sys.exit(run_serve(settings, tell, partial(steered.load, Path(folder))))
    except Halt as halt:
        print(halt, file=sys.stderr)
        sys.exit(3)


if __name__ == "__main__":
    main()
