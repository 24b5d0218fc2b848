"""Tables of images: CSV and Parquet files with a row for each image."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.adapters.samples.folders import labels_of
from pipeline.adapters.samples.rows import Row
from pipeline.errors import Halt
from pipeline.evaluation.sample import LabelledImage, Sample

IMAGE_COLUMNS = ("path", "file_name", "filepath", "image")
"""Where the image is. The first of them that the table has: ours, Hugging Face's for folders of
images, FiftyOne's, and Hugging Face's for Parquet files."""
LABEL_COLUMNS = ("labels", "label")
SEPARATOR = "|"
"""Between the labels of one image in a CSV file."""

_YES, _NO = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no"}


def read_csv(
    file: Path,
    labels: Sequence[str] | None,
    group_by: str | None,
    attributes: Sequence[str],
) -> Sample:
    """
    Raises:
        Halt: ``sample.invalid``.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, restkey=None, strict=True)
            columns = tuple(reader.fieldnames or ())
            rows = [Row({str(key): value for key, value in row.items()}) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Halt("sample.invalid", f"{file}: cannot be read as CSV ({error})") from error
    # The heading is line 1.
    return _sample(_Table(file, columns, labels, group_by, attributes), enumerate(rows, start=2))


def read_parquet(
    file: Path,
    labels: Sequence[str] | None,
    group_by: str | None,
    attributes: Sequence[str],
) -> Sample:
    """
    Raises:
        Halt: ``sample.invalid``; ``evaluate.lacks_package``: pyarrow is not installed.
    """
    try:
        from pipeline.adapters.samples.parquet import columns_of, rows_of
    except ImportError as error:
        what = f"{file}: needs pyarrow ({error}); install clipstream[evaluate]"
        raise Halt("evaluate.lacks_package", what) from error
    columns = columns_of(file)
    table = _Table(file, columns, labels, group_by, attributes)
    return _sample(table, enumerate(rows_of(file, table.image, table.values), start=1))


class _Table:
    """Which columns of a table say what."""

    def __init__(
        self,
        file: Path,
        columns: Sequence[str],
        labels: Sequence[str] | None,
        group_by: str | None,
        attributes: Sequence[str],
    ) -> None:
        self.file = file
        self.labels = labels
        self.group_by = group_by
        self.attributes = attributes
        self.image = self._first(IMAGE_COLUMNS, columns)
        self.own = [label for label in labels or () if label in columns]
        """Labels with a column of their own."""
        # What a label set does to groups can be told without labels.
        unlabelled = self.own or (attributes and not {*LABEL_COLUMNS} & {*columns})
        self.label = None if unlabelled else self._first(LABEL_COLUMNS, columns)
        for each in (*attributes, *([] if group_by is None else [group_by])):
            if each not in columns:
                raise self.wrong(f"has no column {each!r} to group by; it has {_listed(columns)}")
        wanted = (self.image, self.label, group_by, *attributes, *self.own)
        self.values = tuple(dict.fromkeys(column for column in wanted if column is not None))

    def wrong(self, what: str, row: int | None = None) -> Halt:
        where = str(self.file) if row is None else f"{self.file}:{row}"
        return Halt("sample.invalid", f"{where}: {what}")

    def _first(self, names: Sequence[str], columns: Sequence[str]) -> str:
        for name in names:
            if name in columns:
                return name
        raise self.wrong(
            f"has none of the columns {_listed(names)}"
            + (", nor one named as a label" if self.labels and names is LABEL_COLUMNS else "")
            + f"; it has {_listed(columns)}"
        )

    def labels_of(self, row: int, values: Mapping[str, Any]) -> frozenset[str]:
        if self.label is None:
            return frozenset(label for label in self.own if self._flag(row, label, values[label]))
        given = values[self.label]
        if given is None or isinstance(given, str):
            given = [part.strip() for part in (given or "").split(SEPARATOR)]
        elif not isinstance(given, list):
            given = [given]
        where = f"{self.file}:{row}"
        names = [str(each) for each in given if each not in ("", None)]
        return frozenset().union(*(labels_of(name, self.labels, where) for name in names))

    def _flag(self, row: int, label: str, value: Any) -> bool:
        written = str(value).strip().lower()
        if written not in _YES | _NO:
            raise self.wrong(f"{label}: {value!r} is neither 1 nor 0; write one of them", row)
        return written in _YES


def _sample(table: _Table, rows: Iterable[tuple[int, Row]]) -> Sample:
    images = tuple(_images(table, rows))
    if not images:
        raise table.wrong("has no rows; add images")
    if table.labels is not None:
        judged = tuple(table.own or (table.labels if table.label else ()))
    else:
        judged = tuple(sorted(set[str]().union(*(image.labels for image in images))))
    return Sample(images, judged)


def _images(table: _Table, rows: Iterable[tuple[int, Row]]) -> Iterator[LabelledImage]:
    for number, row in rows:
        labels = table.labels_of(number, row.values)
        written = row.values.get(table.image)
        if row.read is not None:
            name, read = str(written or f"row {number}"), row.read
        elif not isinstance(written, str) or not written:
            raise table.wrong(f"{table.image} is empty; write the path of the image", number)
        elif "://" in written:
            raise table.wrong(f"{written} is no path; copy the images to this machine", number)
        else:
            name, read = written, (table.file.parent / written).read_bytes
        group = None if table.group_by is None else row.values.get(table.group_by)
        attributes = {
            column: str(value)
            for column in table.attributes
            if (value := row.values.get(column)) not in (None, "")
        }
        group = None if group in (None, "") else str(group)
        yield LabelledImage(name, labels, group, read, attributes)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
