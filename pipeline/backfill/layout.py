"""Names of a job's objects, below its output prefix.

::

    job.json                              what the job is: its plan, cut once (create-only)
    identity.json                         what computes its rows: model, label sets (create-only)
    plan/<attempt>/000123.parquet         the rows of a shard
    errors/000123-<hash>.parquet          the rows of a shard that failed
    data/000123.parquet                   the rows that were classified; this object is the commit
    driver.json, control.json, progress.json
    changes/000123.json, changes.json     of a rescored job: what other label sets changed
    erased.json                           what was erased, and when
    published/<cluster>/07.json           how far a lane is published to Kafka (see ``marks``)
    removed.parquet                       objects of earlier jobs that the source has lost
    _SUCCESS.json                         the job is complete: all its files and counts

An errors file that no data file names is left of a lost attempt and belongs to no row. So is a
plan of another attempt than that of ``job.json``.
"""

from __future__ import annotations

import re

JOB = "job.json"
IDENTITY = "identity.json"
LEASE = "driver.json"
CONTROL = "control.json"
PROGRESS = "progress.json"
SUCCESS = "_SUCCESS.json"
REMOVED = "removed.parquet"
CHANGES = "changes.json"
ERASED = "erased.json"

DATA = "data/"
ERRORS = "errors/"
PLAN = "plan/"
PUBLISHED = "published/"

MAX_SHARDS = 1_000_000
"""Names have six digits, so that they sort as their numbers do."""

_DATA = re.compile(r"data/([0-9]{6})\.parquet")


def data_file(shard: int) -> str:
    return f"{DATA}{shard:06}.parquet"


def errors_file(shard: int, digest: str) -> str:
    """``digest`` is of the file's bytes, so that attempts do not replace one another's errors."""
    return f"{ERRORS}{shard:06}-{digest[:16]}.parquet"


def changes_file(shard: int) -> str:
    """What other label sets changed about a shard's rows."""
    return f"changes/{shard:06}.json"


def plan_file(attempt: str, shard: int) -> str:
    """``attempt`` names one cut of the plan, so that no other cut can replace its files."""
    return f"{PLAN}{attempt}/{shard:06}.parquet"


def published_file(cluster: str, lane: int) -> str:
    """``cluster`` is the id of the Kafka cluster."""
    return f"{PUBLISHED}{cluster}/{lane:02}.json"


def shard_of(name: str) -> int | None:
    """The shard that a data file commits, or None for any other name."""
    match = _DATA.fullmatch(name)
    return int(match[1]) if match else None
