"""Where the pipeline runs.

Read ``cli`` first, then ``commands``, a module a command. ``stream`` is the worker of the stream,
``backfill`` that of a backfill, ``serve`` the HTTP application. ``supervise`` keeps workers
running, ``cluster`` runs them on Ray, ``settings`` is what all of them are told.
``demo`` shows it, with the Kafka and the S3 server of ``embedded``. What several rooms need stands
beside them: ``stages`` builds the per-image path over ``stores`` and ``decoding``, ``label_sets``
keeps label sets and routes current, ``known`` lists of known pictures, ``node_checks`` looks
whether a machine has what a worker needs, ``endpoints`` serves metrics and health, ``kubernetes``
asks whether the driver's pod comes back, ``event_loop`` is where images live, ``health`` is what a
worker reports about itself, ``looks`` sees what has changed, ``audit`` says who did what, and
``instruments``, ``logs`` and ``backoff`` are small tools.

Linux only: on another system the import of this package ends the process.
"""

import sys

if sys.platform != "linux":
    # Checked here, before any import that would fail with a less clear message. Every entry point
    # imports this package.
    raise SystemExit(
        f"clipstream: needs Linux, and this is {sys.platform}; on macOS and Windows run it in a "
        "Linux container"
    )
