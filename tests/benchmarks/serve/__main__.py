"""`python -m tests.benchmarks.serve`: the HTTP application, on Ray Serve as in production.

The load comes from processes of its own on the same processors. Every goal that is not a time is a
ratio of two figures of one run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from tests.benchmarks.figures import show
from tests.benchmarks.report import hardware
from tests.benchmarks.serve.parts import PARTS, measure
from tests.rigs.checkout import commit


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="serve")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument(
        "--seconds", type=float, help="of each load; a small number tries whether a part runs"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="the figures as JSON")
    arguments = parser.parse_args()
    console = Console(markup=False)
    figures = measure(arguments.only, arguments.seconds, console.print)
    show(figures, "Serve", console)
    if arguments.output:
        told = {
            "commit": commit(),
            "hardware": hardware(),
            "settings": {"parts": arguments.only, "seconds": arguments.seconds},
            "figures": {
                each.name: {"value": each.value, "goal": each.goal, "met": each.met}
                for each in figures
            },
        }
        arguments.output.write_text(json.dumps(told, indent=1) + "\n")
    return 0 if all(figure.met is not False for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
