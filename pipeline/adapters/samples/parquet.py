"""Rows of Parquet files, those that Hugging Face's datasets writes included."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.adapters.samples.rows import Row
from pipeline.errors import Halt


def columns_of(file: Path) -> tuple[str, ...]:
    """
    Raises:
        Halt: ``sample.invalid``: this is no Parquet.
    """
    try:
        return tuple(pq.read_schema(file).names)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file, error) from error


def rows_of(file: Path, image: str, columns: Sequence[str]) -> Iterator[Row]:
    """The rows in order. Of an ``image`` column that holds the files themselves, only paths are
    read; the bytes are read when they are asked for.

    Raises:
        Halt: ``sample.invalid``.
    """
    try:
        with pq.ParquetFile(file) as opened:
            schema = opened.schema_arrow
            holds = pa.types.is_struct(schema.field(image).type)
            names = _names_of_classes(schema)
            plain = [f"{image}.path" if holds and each == image else each for each in columns]
            bodies = _Bodies(file, image) if holds else None
            for group in range(opened.num_row_groups):
                rows = opened.read_row_group(group, columns=plain).to_pylist()
                for place, values in enumerate(rows):
                    for column, classes in names.items():
                        if column in values:
                            values[column] = _named(values[column], classes)
                    read: Callable[[], bytes] | None = None
                    if bodies is not None:
                        values[image] = (values.get(image) or {}).get("path")
                        read = partial(bodies.read, group, place)
                    yield Row(values, read)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise _unreadable(file, error) from error


class _Bodies:
    """Reads the files that a column holds. Keeps one row group in memory: images are read in the
    order of their rows. Not thread-safe."""

    def __init__(self, file: Path, image: str) -> None:
        self._file = file
        self._image = image
        self._group = -1
        self._bodies: list[bytes | None] = []

    def read(self, group: int, place: int) -> bytes:
        """
        Raises:
            OSError: the row has no bytes.
        """
        if group != self._group:
            with pq.ParquetFile(self._file) as opened:
                column = opened.read_row_group(group, columns=[f"{self._image}.bytes"])
            self._bodies = [(each or {}).get("bytes") for each in column[self._image].to_pylist()]
            self._group = group
        body = self._bodies[place]
        if body is None:
            raise OSError(f"{self._file}: the row holds no bytes")
        return body


def _names_of_classes(schema: Any) -> dict[str, list[str]]:
    """Names of the numbers in columns of classes, as Hugging Face's datasets describes them."""
    described = (schema.metadata or {}).get(b"huggingface")
    if described is None:
        return {}
    features = json.loads(described).get("info", {}).get("features", {})
    found = {}
    for column, feature in features.items():
        inner = feature.get("feature", feature)  # of a list
        if inner.get("_type") == "ClassLabel":
            found[column] = inner["names"]
    return found


def _named(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_named(each, names) for each in value]
    return value if value is None or value < 0 else names[value]


def _unreadable(file: Path, error: Exception) -> Halt:
    return Halt("sample.invalid", f"{file}: cannot be read as Parquet ({error})")
