"""Reads a sample in whichever form it has: a folder, a CSV file or a Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.adapters.samples.folders import read_folder
from pipeline.adapters.samples.tables import read_csv, read_parquet
from pipeline.errors import Halt
from pipeline.evaluation.sample import Sample


def read_sample(
    source: Path,
    labels: Sequence[str] | None = None,
    group_by: str | None = None,
    attributes: Sequence[str] = (),
) -> Sample:
    """The images of a folder, CSV or Parquet file. No image is opened yet.

    With ``labels``, every label of the sample must be one of them, and a table may have one column
    for each. Without, the labels of the sample are taken as they are. ``group_by`` names the column
    whose value two images share if they resemble each other; a folder has none. ``attributes`` are
    columns to compare rates by: a table that has them needs no labels, and then judges none.

    Raises:
        Halt: ``sample.invalid``: the message says what is wrong, and in which row.
    """
    if source.is_dir():
        for column in (*attributes, *([] if group_by is None else [group_by])):
            raise Halt(
                "sample.invalid",
                f"{source}: a folder has no column {column!r} to group by; write a CSV file",
            )
        return read_folder(source, labels)
    if not source.is_file():
        raise Halt("sample.invalid", f"{source}: no such file or folder; check the path")
    match source.suffix.lower():
        case ".csv":
            return read_csv(source, labels, group_by, attributes)
        case ".parquet":
            return read_parquet(source, labels, group_by, attributes)
        case suffix:
            raise Halt(
                "sample.invalid",
                f"{source}: {suffix or 'no suffix'} is no form of a sample; name a folder, a .csv "
                "or a .parquet file",
            )
