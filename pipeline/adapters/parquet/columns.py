"""The columns of a backfill's tables. Their meaning stands in docs/backfill.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipeline.errors import Halt

PLAN = pa.schema(
    [
        ("bucket", pa.string()),
        ("key", pa.string()),
        ("version_id", pa.string()),
        ("etag", pa.string()),
        ("size_bytes", pa.int64()),
        ("id", pa.string()),
        ("tenant", pa.string()),
        ("label_sets", pa.list_(pa.string())),
        ("metadata", pa.string()),
        ("truth", pa.list_(pa.string())),
    ]
)

OBJECT = [
    ("row", pa.int32()),
    ("bucket", pa.string()),
    ("key", pa.string()),
    ("version_id", pa.string()),
    ("etag", pa.string()),
    ("id", pa.string()),
    ("tenant", pa.string()),
    ("metadata", pa.string()),
]
"""What results and failures both say of a row's object."""

IMAGE = [
    ("content_id", pa.string()),
    ("sha256", pa.string()),
    ("size_bytes", pa.int64()),
    ("format", pa.string()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("frames", pa.int32()),
    ("cropped_share", pa.float64()),
]

EMBEDDING = "embedding"

FAILURES = pa.schema(
    [
        *OBJECT,
        ("code", pa.string()),
        ("message", pa.string()),
        ("attempts", pa.int32()),
        ("format", pa.string()),
        ("unclassified_action", pa.string()),
        ("label_sets", pa.list_(pa.string())),
    ]
)

REPEATING = ("bucket", "tenant", "format", "code", "unclassified_action")
"""Columns with few values, which a dictionary makes small."""

TAKEN = frozenset(name for name, _ in OBJECT + IMAGE) | {EMBEDDING, "truth"}


def result_of(labels: Sequence[str]) -> pa.DataType:
    """One label set's result."""
    per_label = pa.struct([(label, pa.float64()) for label in labels])
    return pa.struct(
        [
            ("decision", pa.string()),
            ("matched", pa.list_(pa.string())),
            ("scores", per_label),
            ("similarities", per_label),
        ]
    )


def results(
    label_sets: Mapping[str, Sequence[str]], dimension: int | None, dtype: str
) -> pa.Schema:
    """The columns of results. ``label_sets`` have the labels of each, ``dimension`` is None without
    embeddings.

    Raises:
        Halt: ``backfill.column_taken``: a label set has the name of another column.
    """
    for name in label_sets:
        if name in TAKEN:
            raise Halt(
                "backfill.column_taken",
                f"backfill: label set {name!r} would be a column of the results, which have a "
                "column of this name; give the label set another name",
            )
    fields = [*OBJECT, *IMAGE, ("truth", pa.list_(pa.string()))]
    fields += [(name, result_of(labels)) for name, labels in label_sets.items()]
    if dimension is not None:
        element = pa.float32() if dtype == "float32" else pa.float16()
        fields.append((EMBEDDING, pa.list_(element, dimension)))
    return pa.schema(fields)
