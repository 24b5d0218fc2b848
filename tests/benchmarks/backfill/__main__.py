"""`python -m tests.benchmarks.backfill`: a backfill's worker beside others."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console

from tests.benchmarks.backfill.parts import PARTS, ROUNDS, measure
from tests.benchmarks.figures import show


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="backfill")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    console = Console(markup=False)
    figures = measure(arguments.only, arguments.rounds, console.print)
    show(figures, "A backfill's worker", console)
    return 0 if all(figure.met is not False for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
