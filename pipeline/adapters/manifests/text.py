"""CSV as chunks. All values are bytes, so that a wrong one can be named by its row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from pipeline.adapters.manifests.chunks import Chunk, damaged
from pipeline.errors import Halt

_BLOCK_BYTES = 4 * 1024 * 1024
_MOST_COLUMNS = 100


def opened(path: Path, file: str) -> pa.NativeFile:
    """The bytes of a file, decompressed as its name says."""
    name = file.lower()
    compression = "gzip" if name.endswith(".gz") else "zstd" if name.endswith(".zst") else None
    return pa.input_stream(str(path), compression=compression, buffer_size=1024 * 1024)


def csv_chunks(path: Path, file: str, names: Sequence[str] | None) -> Iterator[Chunk]:
    """``names`` are those of the columns; None: the first line has them. Empty values are null.

    Raises:
        Halt: ``backfill.manifest_invalid``: a row has more or fewer values than there are columns.
            ``backfill.manifest_damaged``: this is no CSV, or it ends early.
    """
    wrong: list[pacsv.InvalidRow] = []

    def refuse(row: pacsv.InvalidRow) -> str:
        wrong.append(row)
        return "error"

    first = 1
    try:
        with opened(path, file) as stream:
            reader = pacsv.open_csv(
                stream,
                # One thread, because only then rows have numbers.
                pacsv.ReadOptions(
                    use_threads=False, block_size=_BLOCK_BYTES, column_names=_known(names)
                ),
                pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
                _as_bytes(names or _header(path, file)),
            )
            for batch in reader:
                if batch.num_rows:
                    yield Chunk(file, first, pa.Table.from_batches([batch]))
                    first += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        if wrong:
            raise _uneven(file, wrong[0], has_header=names is None) from error
        raise damaged(file, f"cannot be read as CSV ({error})") from error


def width(path: Path, file: str) -> int:
    """How many values the first row of a CSV without a header has."""
    return len(_header(path, file))


def _header(path: Path, file: str) -> list[str]:
    import csv
    import io

    try:
        with opened(path, file) as stream:
            text = stream.read(65_536).decode("utf-8-sig", errors="replace")
    except (pa.ArrowInvalid, OSError) as error:
        raise damaged(file, f"cannot be read as CSV ({error})") from error
    return next(csv.reader(io.StringIO(text)), [])


def _known(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else list(names)


def _as_bytes(names: Sequence[str]) -> pacsv.ConvertOptions:
    return pacsv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.binary()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )


def _uneven(file: str, row: pacsv.InvalidRow, *, has_header: bool) -> Halt:
    number = "a row" if row.number is None else f"row {row.number - has_header:,}"
    return Halt(
        "backfill.manifest_invalid",
        f"{file}: {number} has {row.actual_columns} values for {row.expected_columns} columns; "
        "quote values that hold commas, quotes or line breaks",
    )
