"""Copies a checkpoint from S3, whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.adapters.clip.checkpoint import (
    CONFIG,
    Checkpoint,
    from_directory,
    is_relevant,
    relevant_files,
)
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.downloads import S3Downloads
from pipeline.adapters.s3.policy import S3Policy
from pipeline.errors import Halt


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a checkpoint is. ``prefix`` is empty or ends with a slash."""

    store: S3Policy
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


def fetch_checkpoint(
    origin: Origin, directory: Path, revision: str | None, tell: Callable[[str], object]
) -> Checkpoint:
    """Copy the checkpoint to ``directory``, and return the copy. Blocks and retries.

    If the process dies, the directory holds the earlier checkpoint, the new one, or an incomplete
    one that no worker loads. With ``revision``, a directory that has this revision is left as it
    is. ``tell`` gets a line for each file.

    Raises:
        Halt: ``model.not_found``: nothing is below the prefix. ``model.incomplete``: a file is
            missing, or was changed meanwhile. ``model.another_revision``: it is not ``revision``.
            ``model.unwritable``: the directory cannot be written.
        StoreDenied, Retry: the store failed.
    """
    name = directory.absolute().name
    if revision is not None:
        with contextlib.suppress(Halt):
            held = from_directory(name, directory)
            if held.revision == revision:
                return held
    with _writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        # Inside, because the directory may be a mounted volume, which cannot be replaced.
        incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=directory))
    try:
        _download(origin, incoming, tell)
        fetched = from_directory(name, incoming)
        if revision is not None and fetched.revision != revision:
            raise Halt(
                "model.another_revision",
                f"{origin}: has the revision {fetched.revision}, not {revision}; name the prefix "
                "of the other checkpoint, or this revision",
            )
        with _writing(directory):
            _replace(directory, incoming)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return replace(fetched, directory=directory)


def _download(origin: Origin, into: Path, tell: Callable[[str], object]) -> None:
    found = False
    with (
        contextlib.closing(S3Admin(origin.store)) as admin,
        contextlib.closing(S3Downloads(origin.store, changed="model.incomplete")) as downloads,
    ):
        for listed in admin.list_objects(origin.bucket, origin.prefix):
            file = listed.key.removeprefix(origin.prefix)
            if not is_relevant(file):
                continue
            found = True
            with _writing(into), (into / file).open("wb") as incoming:
                if not downloads.download(origin.bucket, listed.key, incoming):
                    raise Halt(
                        "model.incomplete",
                        f"{origin}{file}: was deleted while the checkpoint was read; run the "
                        "command again",
                    )
            tell(f"{file}: {listed.size_bytes:,} bytes")
    if not found:
        raise Halt(
            "model.not_found",
            f"{origin}: holds no file of a checkpoint; name the folder of its {CONFIG}",
        )


def _replace(directory: Path, incoming: Path) -> None:
    """Put the files of ``incoming`` in the place of the directory's checkpoint.

    The old configuration goes first and the new one comes last: without one, a directory is no
    checkpoint.
    """
    for file in sorted(relevant_files(directory), key=lambda file: file.name != CONFIG):
        file.unlink()
    for file in sorted(relevant_files(incoming), key=lambda file: file.name == CONFIG):
        file.replace(directory / file.name)


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Halt(
            "model.unwritable",
            f"{directory}: cannot be written ({error.strerror or error}); fix its owner, or give "
            "it more space",
        ) from error
