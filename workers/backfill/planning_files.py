"""Files of manifests, on this machine or in a bucket."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.downloads import S3Downloads
from pipeline.errors import Halt
from workers.settings.loading import Settings

_SCHEME = "s3://"


class ManifestFiles:
    """Implements ``pipeline.adapters.manifests.chunks.Files``. An object is copied to a temporary
    file before it is read: its checksum is known before its rows, and a slow reader keeps no
    connection open."""

    def __init__(self, settings: Settings, tell: Callable[[], object] = lambda: None) -> None:
        """``tell`` is called again and again while a file is copied."""
        self._settings = settings
        self._tell = tell

    def read(self, name: str) -> bytes | None:
        if not name.startswith(_SCHEME):
            try:
                return Path(name).read_bytes()
            except FileNotFoundError:
                return None
            except OSError as error:
                raise _unreadable(name, error) from error
        into = io.BytesIO()
        return into.getvalue() if self._download(name, into) else None

    @contextlib.contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        if not name.startswith(_SCHEME):
            path = Path(name)
            try:
                path.open("rb").close()
            except OSError as error:
                raise _unreadable(name, error) from error
            yield path
            return
        with tempfile.TemporaryDirectory(prefix="clipstream-plan-") as folder:
            path = Path(folder) / "file"
            with path.open("wb") as into:
                found = self._download(name, into)
            if not found:
                raise Halt("backfill.invalid", f"{name}: there is no such object; check its name")
            yield path

    def within(self, folder: str) -> Iterator[str]:
        if not folder.endswith("/"):
            yield folder
        elif folder.startswith(_SCHEME):
            bucket, key = _parts(folder)
            with contextlib.closing(S3Admin(self._settings.s3_store_named(bucket))) as admin:
                for each in admin.list_objects(bucket, key):
                    if each.size_bytes and not _is_hidden(each.key):
                        yield f"{_SCHEME}{bucket}/{each.key}"
        else:
            for path in sorted(Path(folder).iterdir()):
                if path.is_file() and not _is_hidden(path.name):
                    yield str(path)

    def _download(self, name: str, into: io.BytesIO | io.BufferedWriter) -> bool:
        bucket, key = _parts(name)
        with contextlib.closing(S3Downloads(self._settings.s3_store_named(bucket))) as downloads:
            return downloads.download(bucket, key, into, self._tell)


def _parts(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix(_SCHEME).partition("/")
    if not bucket or not key:
        raise Halt("backfill.invalid", f"{uri}: names no object; write s3://BUCKET/KEY")
    return bucket, key


def _is_hidden(name: str) -> bool:
    """Spark, Athena and Hive mark their own files so."""
    return name.rpartition("/")[2].startswith(("_", "."))


def _unreadable(name: str, error: OSError) -> Halt:
    return Halt(
        "backfill.invalid", f"{name}: cannot be read ({error.strerror}); check the source's name"
    )
