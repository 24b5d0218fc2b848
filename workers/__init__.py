"""Where the pipeline runs: command line, settings, wiring, Ray actors."""

import sys

if sys.platform != "linux":
    # Here, before any import that fails with less to say: every way in comes by this package.
    raise SystemExit(
        f"clipstream: needs Linux, and this is {sys.platform}; on macOS and Windows run it in a "
        "Linux container"
    )
