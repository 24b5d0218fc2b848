"""``python -m deploy.dev.monitoring [--parameters FILE] [--faster N]``: print the rules.

``FILE`` holds the parameters that differ from monitoring/parameters.yaml.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.dev.monitoring.rules import defaults, parameters_of, rules_file, scaled


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.dev.monitoring",
        description="Print the alert and recording rules for Prometheus.",
    )
    parser.add_argument(
        "--parameters", type=Path, help="YAML file of parameters that differ from the defaults"
    )
    parser.add_argument(
        "--faster",
        type=int,
        default=1,
        help="divide all times by this number, to see alerts fire in a trial: 60",
    )
    given = parser.parse_args(arguments)
    known = defaults()
    try:
        own = parameters_of(given.parameters) if given.parameters else {}
    except (OSError, ValueError) as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    unknown = sorted(own.keys() - known.keys())
    if unknown:
        sys.stderr.write(
            f"{given.parameters}: {', '.join(unknown)}: no such parameter; "
            "monitoring/parameters.yaml has all\n"
        )
        return 2
    sys.stdout.write(rules_file(scaled({**known, **own}, given.faster)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
