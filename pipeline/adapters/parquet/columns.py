"""The columns of a backfill's tables, with their meaning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Column:
    """One column, as ``docs/schemas/backfill/columns.v1.json`` describes it. ``null`` says when it
    is null; None: never."""

    name: str
    type: pa.DataType
    meaning: str
    null: str | None = None


OBJECT = (
    Column(
        "row",
        pa.int32(),
        "Number of the row in its shard, from 0. The job, the shard (the number in the file's "
        "name) and this number identify a row.",
    ),
    Column("bucket", pa.string(), "Bucket of the object."),
    Column("key", pa.string(), "Key of the object, as it is stored, without escapes."),
    Column(
        "version_id",
        pa.string(),
        "Version of the object: in results the version that was read, in failures and copies "
        "(`--dedupe`) the version that the job asked for.",
        "the bucket keeps no versions, or the job asked for none",
    ),
    Column(
        "etag",
        pa.string(),
        "ETag of the object without quotes: in results of the object that was read, in failures "
        "and copies (`--dedupe`) of the object that the job asked for.",
        "the store sent none, or the job asked for none",
    ),
    Column("id", pa.string(), "Your own id of the image, from the manifest.", "none was given"),
    Column("tenant", pa.string(), "Tenant that the route decided.", "none was decided"),
    Column(
        "metadata",
        pa.string(),
        "Your own metadata, from the manifest: a JSON object as text.",
        "none was given",
    ),
)
"""What results and failures both say of a row's object."""

IMAGE = (
    Column(
        "content_id",
        pa.string(),
        "Identity of what the embedding is of: object, version, model, precision and decode mode. "
        "Equal in the stream, over HTTP and in every job. An index that upserts by it holds one "
        "vector an object and model.",
    ),
    Column("sha256", pa.string(), "SHA-256 of the stored bytes, in lower-case hexadecimal."),
    Column("size_bytes", pa.int64(), "Number of stored bytes."),
    Column("format", pa.string(), "Format, recognised by content: `JPEG`, `PNG`, `WEBP`, ..."),
    Column("width", pa.int32(), "Width in pixels, after the image was turned upright."),
    Column("height", pa.int32(), "Height in pixels, after the image was turned upright."),
    Column(
        "frames",
        pa.int32(),
        "Number of frames or pages; 1 for a single image. The model sees only the first.",
    ),
    Column(
        "cropped_share",
        pa.float64(),
        "Share of the image's area, 0 to 1, that the model did not see.",
    ),
)

TRUTH = Column(
    "truth",
    pa.list_(pa.string()),
    "Labels that a person gave the image, from the manifest. An empty list: a person looked, and "
    "no label applies.",
    "nobody did",
)

RESULT = (
    Column(
        "decision",
        pa.string(),
        "Most severe action of the matched labels; without a match, the set's default action. "
        "Never less than the action of the set's `review_if`, if the image meets it.",
    ),
    Column(
        "matched",
        pa.list_(pa.string()),
        "Labels whose score is at or above one of their thresholds.",
    ),
    Column(
        "scores",
        pa.struct([]),
        "One field a label: the probability by the label set's rule, from 0 to 1, as float64.",
    ),
    Column(
        "similarities",
        pa.struct([]),
        "One field a label: the cosine between image and label, from -1 to 1, as float64.",
    ),
    Column(
        "raised",
        pa.list_(pa.string()),
        "Conditions of the set's `review_if` that raised the decision: `cropped_share`, `frames`. "
        "Empty if the labels alone made the decision. The field is missing in files of versions "
        "that did not write it, and so are `labels_decision` and `shadow`.",
    ),
    Column(
        "labels_decision",
        pa.string(),
        "The decision of the labels alone: `decision`, unless `raised` names a condition.",
    ),
    Column(
        "shadow",
        pa.bool_(),
        "Whether the label set is tried out (`shadow: true`): act on no decision of it.",
    ),
    Column(
        "probabilities",
        pa.struct([]),
        "One field a label: what the label's calibration makes of the score, from 0 to 1, as "
        "float64; null for a label without calibration. The field is missing in files of versions "
        "that did not write it.",
    ),
)
"""Fields of a label set's column, a struct with the label set's name."""

RESULT_VIEWS = Column(
    "views",
    pa.struct([]),
    "One field a label: the place in the row's `views`, from 0, of the view where the label's "
    "score is largest. Score and similarity are those of this view. 0 where `views` is null. The "
    "field is missing in jobs with `decode.views: centre`.",
)

RESULT_NULL = "the row's route did not ask for this label set"

EMBEDDING = "embedding"

VECTOR = Column(
    EMBEDDING,
    pa.list_(pa.float32()),
    "The image's embedding, of unit length: a list of the model's dimension, float32 or float16 "
    "by `events.embedding_dtype`. The column is missing where `backfill.embeddings` is off, and in "
    "a rescored job.",
)

VIEW = (
    Column(
        "kind",
        pa.string(),
        "`centre`: the centred square of the frame. `tile`: another square along its longer side.",
    ),
    Column("frame", pa.int32(), "Number of the frame, from 0."),
    Column("left", pa.float64(), "Left edge, in pixels of the image, turned upright."),
    Column("top", pa.float64(), "Top edge."),
    Column("right", pa.float64(), "Right edge."),
    Column("bottom", pa.float64(), "Bottom edge."),
    Column(
        EMBEDDING,
        pa.list_(pa.float32()),
        "The view's embedding, a list of the type of the column `embedding`. The field is missing "
        "where `backfill.view_embeddings` or `backfill.embeddings` is off, and in a rescored job.",
        "the view is the first, whose embedding is the row's",
    ),
)
"""Fields of an entry of ``views``."""

VIEWS = Column(
    "views",
    pa.list_(pa.struct([])),
    "The parts of the image that the model saw, if there are several: a list of structs. The first "
    "is the centred square of the first frame. A label's score is its largest over the views. The "
    "column is missing in jobs with `decode.views: centre`.",
    "the model saw the centred square alone",
)

FAILURE = (
    Column("code", pa.string(), "Why the row failed: see the list of codes."),
    Column("message", pa.string(), "The same in words, for this object."),
    Column("attempts", pa.int32(), "How often the object was tried."),
    Column(
        "format",
        pa.string(),
        "Format of a file whose format is recognised but not supported.",
        "any other failure",
    ),
    Column(
        "unclassified_action",
        pa.string(),
        "Action of the label sets for an image that nobody looked at.",
    ),
    Column(
        "label_sets",
        pa.list_(pa.string()),
        "Label sets that were to score the image. A retry and a publication ask for them.",
    ),
)


def schema_of(columns: Iterable[Column]) -> pa.Schema:
    return pa.schema([(column.name, column.type) for column in columns])


FAILURES = schema_of([*OBJECT, *FAILURE])

REPEATING = ("bucket", "tenant", "format", "code", "unclassified_action")
"""Columns with few values, which a dictionary makes small."""

TAKEN = frozenset(column.name for column in (*OBJECT, *IMAGE, TRUTH, VECTOR))


@dataclass(frozen=True, slots=True)
class Stored:
    """What results have beside scores. ``dimension`` and ``dtype`` are those of the embeddings; the
    dimension is None without embeddings. ``views``: the rows list the views of their images.
    ``view_embeddings``: with the embeddings of views."""

    dimension: int | None
    dtype: str = "float32"
    views: bool = False
    view_embeddings: bool = False

    @property
    def element(self) -> pa.DataType:
        return pa.float32() if self.dtype == "float32" else pa.float16()

    @property
    def view(self) -> pa.DataType:
        """The type of an entry of ``views``."""
        fields = [(each.name, each.type) for each in VIEW if each.name != EMBEDDING]
        if self.view_embeddings and self.dimension is not None:
            fields.append((EMBEDDING, pa.list_(self.element)))
        return pa.struct(fields)


def result_of(labels: Sequence[str], *, views: bool = False) -> pa.DataType:
    """One label set's result. ``views``: with the view of each score."""
    per_label = pa.struct([(label, pa.float64()) for label in labels])
    types = (per_label if pa.types.is_struct(each.type) else each.type for each in RESULT)
    fields = [(each.name, kind) for each, kind in zip(RESULT, types, strict=True)]
    if views:
        fields.append((RESULT_VIEWS.name, pa.struct([(label, pa.int32()) for label in labels])))
    return pa.struct(fields)


def results(label_sets: Mapping[str, Sequence[str]], stored: Stored) -> pa.Schema:
    """The columns of results. ``label_sets`` have the labels of each.

    Raises:
        Halt: ``backfill.column_taken``: a label set has the name of another column. DuckDB and
            others read columns without regard to case.
    """
    taken = {*TAKEN, *([VIEWS.name] if stored.views else [])}
    for name in label_sets:
        if name.lower() in taken:
            raise Halt(
                "backfill.column_taken",
                f"backfill: label set {name!r} would be a column of the results, which have a "
                "column of this name, but perhaps for its case; give the label set another name",
            )
        taken.add(name.lower())
    schema = schema_of([*OBJECT, *IMAGE, TRUTH])
    for name, labels in label_sets.items():
        schema = schema.append(pa.field(name, result_of(labels, views=stored.views)))
    if stored.views:
        schema = schema.append(pa.field(VIEWS.name, pa.list_(stored.view)))
    if stored.dimension is not None:
        schema = schema.append(pa.field(EMBEDDING, pa.list_(stored.element, stored.dimension)))
    return schema


def leaves(schema: pa.Schema) -> Iterator[str]:
    """Parquet's paths of the columns, in order."""
    for field in schema:
        yield from _leaves(field.name, field.type)


def _leaves(path: str, kind: pa.DataType) -> Iterator[str]:
    if pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{path}.{field.name}", field.type)
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    else:
        yield path
