"""The process of our server: `python -m tests.benchmarks.serve.served SETTINGS [LOAD]`.

It is what `clipstream serve` runs. ``LOAD`` names a function of ``null`` that returns the model
instead of the configured one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.benchmarks.serve import null
from workers.commands.serve import run_serve
from workers.logs import configure_logging
from workers.settings.loading import load_settings
from workers.stages import load_encoder


def main() -> int:
    settings = load_settings(Path(sys.argv[1]), environment={})
    configure_logging(settings.log, "serve")
    load = getattr(null, sys.argv[2]) if len(sys.argv) > 2 else load_encoder
    return run_serve(settings, print, load)


if __name__ == "__main__":
    sys.exit(main())
