"""The process that `make soak` watches: a whole stream worker, but for its model."""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.ports import Encoder
from tests.rigs.until_sigterm import run_until_sigterm
from workers.logs import configure_logging
from workers.settings.loading import Settings, load_settings
from workers.stream.wiring import build_stream_worker

CROP_PX = 32
GRACE_S = 20.0


def encoder_in_memory(settings: Settings) -> Encoder:
    return MemoryEncoder(dimension=64, crop=CROP_PX)


def main() -> None:
    """Work by the settings of the file that is named, until SIGTERM."""
    settings = load_settings(Path(sys.argv[1]), environment={})
    configure_logging(settings.log, "worker")
    built = build_stream_worker(settings, 0, encoder_in_memory)
    run_until_sigterm(built, GRACE_S)


if __name__ == "__main__":
    main()
