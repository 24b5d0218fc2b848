"""The columns of a backfill's files: a page for people and a description for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from deploy.dev.reference.markdown import NOTICE, table
from pipeline.adapters.parquet.columns import (
    FAILURE,
    IMAGE,
    OBJECT,
    RESULT,
    RESULT_NULL,
    RESULT_VIEWS,
    TRUTH,
    VECTOR,
    VIEW,
    VIEWS,
    Column,
)

NAME = "backfill-columns.v1"

_RESULTS = (*OBJECT, *IMAGE, TRUTH)
_LABEL_SET = (*RESULT, RESULT_VIEWS)
_FAILURES = (*OBJECT, *FAILURE)

METADATA = {
    "job": "Id of the job, as in `job.json`.",
    "shard": "Number of the shard, as in the file's name.",
    "attempt": "Id of the attempt that wrote the file.",
    "plan_hash": "Hash of the job's plan, as in `job.json`.",
    "errors_file": "Name of the file with the shard's failed rows, or null if no row failed.",
    "clipstream_version": "Version of Clipstream.",
    "identity": "What computed the rows: model, revision, precision, engine, decode mode, type of "
    "the embeddings, and the version of each label set; as in `identity.json`.",
    "summary": "Counts of the shard's rows by outcome, decision and code, and a histogram of each "
    "label's scores.",
}

_INTRODUCTION = """\
A backfill writes Parquet below its output. `data/NNNNNN.parquet` has the rows of a shard that were
classified. `errors/NNNNNN-….parquet` has the rows that failed. Read `data/*.parquet` as one table.
Read only errors files that a data file names in its metadata, or those that `_SUCCESS.json` lists.
[columns.v1.json](../schemas/backfill/columns.v1.json) says the same to programs.

Within version 1, columns are only added. A column keeps its name, its type and its meaning.
"""

_LABEL_SETS = f"""\
Each label set of the job is one more column: a struct with the name of the label set. The struct is
null where {RESULT_NULL}. Its fields are never null, and no number is NaN.
"""

_VIEWS = """\
A job with `decode.views: all` looks at several squares of a wide image and at several frames of an
animation. Each is an entry of `views`, a struct.
"""

_METADATA = """\
Values that are constant in a file stand in the key `clipstream` of the file's metadata, as a JSON
object.
"""


def page() -> str:
    """The page as Markdown."""
    heads = ("Column", "Type", "Meaning", "Null where")
    return "\n".join(
        (
            f"# Columns of a backfill's files\n\n{NOTICE}\n\n{_INTRODUCTION}",
            "## Results: `data/*.parquet`\n",
            table(heads, _rows((*_RESULTS, VIEWS, VECTOR))),
            f"## One column a label set\n\n{_LABEL_SETS}",
            table(("Field", "Type", "Meaning"), (row[:3] for row in _rows(_LABEL_SET))),
            f"## Entries of `views`\n\n{_VIEWS}",
            table(("Field", "Type", "Meaning", "Null where"), _rows(VIEW)),
            "## Failures: `errors/*.parquet`\n",
            table(heads, _rows(_FAILURES)),
            f"## Metadata of a data file\n\n{_METADATA}",
            table(("Key", "Meaning"), ((f"`{key}`", said) for key, said in METADATA.items())),
        )
    )


def document() -> str:
    """The description as JSON."""
    described = {
        "name": NAME,
        "files": {
            "data/*.parquet": {
                "columns": [_described(column) for column in (*_RESULTS, VIEWS, VECTOR)],
                "entries_of_views": [_described(column) for column in VIEW],
                "column_of_each_label_set": {
                    "type": "struct",
                    "null_where": RESULT_NULL,
                    "fields": [_described(column) for column in _LABEL_SET],
                },
                "metadata": {"key": "clipstream", "json": METADATA},
            },
            "errors/*.parquet": {"columns": [_described(column) for column in _FAILURES]},
        },
    }
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


def _rows(columns: Iterable[Column]) -> Iterable[tuple[str, str, str, str]]:
    for column in columns:
        yield f"`{column.name}`", type_of(column), column.meaning, column.null or "never"


def _described(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": type_of(column),
        "meaning": column.meaning,
        "null_where": column.null,
    }


def type_of(column: Column) -> str:
    """A column's type in words."""
    if column is VECTOR:
        return "fixed-size list of float32 or float16"
    if column is VIEWS:
        return "list of structs"
    if column is RESULT_VIEWS:
        return "struct of int32"
    if pa.types.is_list(column.type):
        return f"list of {column.type.value_type}s"
    if pa.types.is_struct(column.type):
        return "struct of float64"
    return {"double": "float64"}.get(str(column.type), str(column.type))
