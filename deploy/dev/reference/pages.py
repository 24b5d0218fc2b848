"""Generated documentation: ``python -m deploy.dev.reference [--check]``.

Each page of ``pages()`` is rendered from the code that it documents, so page and code cannot
disagree. Without an option the pages are written. ``--check`` writes nothing, names the pages that
differ and exits with 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from deploy.dev.monitoring import grafana, rules
from deploy.dev.reference import cli, columns, events, settings
from deploy.dev.reference.chart import readme
from deploy.dev.reference.chart import schema as values_schema
from deploy.dev.reference.chart.copies import copies
from deploy.dev.reference.markdown import NOTICE, table
from pipeline.errors import CODES, Blame, Code
from pipeline.events.schemas import schemas
from pipeline.halts import HALTS, Fault
from pipeline.metrics import (
    BACKFILL_JOB_METRICS,
    BACKFILL_METRICS,
    DRIFT_METRICS,
    DRIVER_METRICS,
    FLEET_METRICS,
    HTTP_METRICS,
    IMAGE_METRICS,
    STORE_METRICS,
    STREAM_METRICS,
    Metric,
)

ROOT = Path(__file__).resolve().parents[3]


def pages() -> Mapping[str, Callable[[], str]]:
    """Every generated page: its path from the repository's root → what renders it."""
    return {
        "docs/reference/codes.md": codes,
        "docs/reference/metrics.md": metrics,
        "docs/reference/events.md": events.render,
        "docs/reference/settings.md": settings.render,
        "docs/reference/cli.md": cli.render,
        "docs/reference/backfill-columns.md": columns.page,
        "docs/schemas/backfill/columns.v1.json": columns.document,
        "monitoring/clipstream.rules.yaml": rules.default_rules,
        **grafana.dashboards(),
        **{
            f"docs/schemas/{name}.json": partial(schema, document)
            for name, document in schemas().items()
        },
        "helm/clipstream/values.schema.json": values_schema.render,
        "helm/clipstream/README.md": readme.render,
        **copies(),
    }


_STOPS = {
    Fault.STREAM: "the stream",
    Fault.NODE: "one place",
    Fault.COMMAND: "the command",
}


_CODE_COLUMNS = ("Code", "Meaning", "What to do", "Counts")

_COUNTS = {
    Blame.MESSAGE: "never",
    Blame.IMAGE: "while a good image fails too",
    Blame.OBJECT: "while its bucket cannot be read",
    Blame.DEPLOYMENT: "always",
}


def codes() -> str:
    """Codes of dead letters, by stage, and of halts, by whose fault they can be."""
    sections = []
    for stage in dict.fromkeys(map(Code.stage, CODES)):
        rows = [
            (f"`{name}`", code.meaning, code.remedy, _COUNTS[code.blame])
            for name, code in CODES.items()
            if Code.stage(name) == stage
        ]
        sections.append(f"\n## {stage}\n\n{table(_CODE_COLUMNS, rows)}")
    halts = [
        (f"`{name}`", _STOPS[halt.fault], halt.meaning, halt.remedy) for name, halt in HALTS.items()
    ]
    return (
        f"# Codes\n\n{NOTICE}\n\n"
        "A code says why a reference was not classified. It is the label `code` of "
        "`clipstream_dead_letters_total` and the header `dlq.code` of a dead letter. Codes are "
        "never renamed; new codes may appear. The last column says when a code counts for the "
        "[failure budget](../operations.md#when-most-of-the-input-fails). Codes of halts stand "
        "[at the end](#halts).\n" + "".join(sections) + "\n## Halts\n\n"
        "A halt says why a worker, the driver or a command has stopped. The second column says "
        "what a worker's halt stops. `the stream`: the driver stops with exit code 3. `one place`: "
        "the fault may be one node's own, so only the place of that worker stays empty "
        "([more](../operations.md#when-a-worker-halts)). A halt of the driver itself always stops "
        "the driver.\n\n" + table(("Code", "Stops", "Meaning", "What to do"), halts)
    )


def metrics() -> str:
    """The groups of metrics, in their order."""
    return (
        f"# Metrics\n\n{NOTICE}\n\n"
        "Metrics for Prometheus ([where to scrape them](../operations.md#metrics)). Names contain "
        "the unit: seconds, bytes, records. A metric that ends in `_total` counts from the start "
        "of the process.\n\n"
        "A stream worker exposes the first three groups, and a driver the fourth. A replica that "
        "serves HTTP exposes the groups Images and HTTP. A worker of a backfill exposes Images, "
        "Store and Backfill, and its driver exposes Driver and Backfill job. No label names "
        "the worker. `/metrics/all` of the driver, the discovery file and `/targets` add `kind`, "
        "`worker` and `driver`; `group` to those of a stream, `backfill` (the job's id) to those "
        "of a backfill, and `node` to those of a replica. Prometheus adds `instance`.\n\n"
        "## Images\n\n"
        "The path of an image, whatever its source.\n\n"
        f"{_table_of(IMAGE_METRICS)}\n"
        "## Store\n\n"
        "Waiting for a store. Workers that wait rather than fail expose these.\n\n"
        f"{_table_of(STORE_METRICS)}\n"
        "## Stream\n\n"
        "References, partitions and commits of a stream worker.\n\n"
        f"{_table_of(STREAM_METRICS)}\n"
        "## Drift\n\n"
        "The comparison with `label_sets.drift_reference`, of a stream worker that has one.\n\n"
        f"{_table_of(DRIFT_METRICS)}\n"
        "## Driver\n\n"
        "Each driver exposes these on its health port.\n\n"
        f"{_table_of(DRIVER_METRICS)}\n"
        "## Fleet\n\n"
        "Each driver finds this out when it is asked for `/metrics/all`.\n\n"
        f"{_table_of(FLEET_METRICS)}\n"
        "## HTTP\n\n"
        "Requests and keys of a replica that serves HTTP.\n\n"
        f"{_table_of(HTTP_METRICS)}\n"
        "## Backfill\n\n"
        "Finished shards, of a worker of a backfill.\n\n"
        f"{_table_of(BACKFILL_METRICS)}\n"
        "## Backfill job\n\n"
        "The job, of the driver of a backfill.\n\n"
        f"{_table_of(BACKFILL_JOB_METRICS)}"
    )


def _table_of(catalogue: Sequence[Metric]) -> str:
    rows = [
        (
            f"`{metric.name}`",
            str(metric.kind),
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.help,
            metric.remedy,
        )
        for metric in catalogue
    ]
    return table(("Metric", "Kind", "Labels", "Meaning", "What to do"), rows)


def schema(document: Mapping[str, Any]) -> str:
    """One JSON Schema file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def differing(root: Path) -> dict[str, str]:
    """The pages under ``root`` that are missing or not as the code has them: path → right text."""
    rendered = {path: render() for path, render in pages().items()}
    return {
        path: page
        for path, page in rendered.items()
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != page
    }


def write(root: Path) -> list[str]:
    """Bring the pages under ``root`` up to date; returns the paths written."""
    stale = differing(root)
    for path, page in stale.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page, encoding="utf-8")
    return list(stale)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.dev.reference",
        description="Write the generated documentation.",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if a page differs"
    )
    if not parser.parse_args(arguments).check:
        for path in write(root):
            sys.stdout.write(f"written: {path}\n")
        return 0
    stale = differing(root)
    for path in stale:
        sys.stderr.write(f"{path}: differs from the code; run `python -m deploy.dev.reference`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
