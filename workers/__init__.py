"""Where the pipeline runs: command line, settings, wiring, Ray actors."""

import sys

if sys.platform != "linux":
    # Checked here, before any import that would fail with a less clear message. Every entry point
    # imports this package.
    raise SystemExit(
        f"clipstream: needs Linux, and this is {sys.platform}; on macOS and Windows run it in a "
        "Linux container"
    )
