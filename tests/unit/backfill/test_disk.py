"""What a full disk is, in the words of the system and of DuckDB."""

from __future__ import annotations

import errno
import os
import tempfile

import duckdb
import pytest

from pipeline.adapters.manifests.disk import full_disk_named
from pipeline.errors import Halt


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        duckdb.IOException(f'Could not write file "rows.duckdb": {os.strerror(errno.ENOSPC)}'),
        duckdb.OutOfMemoryException(
            "failed to offload data block\n\nThis limit was set by the 'max_temp_directory_size' "
            "setting."
        ),
    ],
)
def test_a_full_disk_names_its_folder(error: Exception) -> None:
    with pytest.raises(Halt) as caught, full_disk_named():
        raise error
    assert caught.value.code == "backfill.disk_full"
    assert caught.value.message.startswith(f"backfill: {tempfile.gettempdir()} has no room")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "Input/output error"), duckdb.IOException("Could not read")]
)
def test_another_failure_is_passed_on(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, full_disk_named():
        raise error
    assert caught.value is error
