"""Files of hashed keys: how a key looks, what its line says, and how files are read and changed.

A key reads ``cs_<id>_<secret>``. The secret is 43 characters, ``secrets.token_urlsafe(32)``. A file
holds one key a line, as a JSON object; blank lines and lines that begin with ``#`` say nothing:

    {"id": "3f9c0a1b", "name": "shop", "sha256": "…", "images_per_s": 20, "burst": 100}

``KeyEntry`` lists the fields. A folder stands for its files, without those that begin with a dot:
a Kubernetes Secret that is mounted as a folder has its files behind such names.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from pipeline.errors import Halt
from pipeline.priority import FIRST
from workers.serve.admission.rates import Rate
from workers.serve.caller import Caller, Scope

PREFIX = "cs_"
HEADER = "# Keys of clipstream serve, one a line; written by `clipstream keys`.\n"
MOST_LIVE = 2
"""Keys of one name that may be live at a time: the one in use, and the one that replaces it."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$")]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=1100)]


class KeyEntry(BaseModel):
    """One key. ``sha256`` is the digest of the secret, in hexadecimal.

    ``name`` is what logs and metrics show. ``images_per_s`` and ``burst`` come together; without
    them the key has no rate. ``label_sets``, ``tenants`` and ``objects`` are patterns in which
    ``*`` stands for any characters; without them the key may use all. A pattern of ``objects`` is
    ``bucket``, ``bucket/folder/`` or ``bucket/pattern*``, and for web servers ``https://host``,
    ``https://host/folder/`` or ``https://host/pattern*``. A ``proxy`` says who asks
    (``serve.identity_header``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{6,32}$")]
    name: Name
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    expires: AwareDatetime | None = None
    images_per_s: Annotated[float, Field(gt=0)] | None = None
    burst: Annotated[int, Field(gt=0)] | None = None
    scopes: tuple[Scope, ...] = (Scope.CLASSIFY,)
    label_sets: tuple[Pattern, ...] | None = None
    tenants: tuple[Pattern, ...] | None = None
    objects: tuple[Pattern, ...] | None = None
    ignore_text: bool = False
    priority: Literal["live", "batch"] = "live"
    proxy: bool = False

    @model_validator(mode="after")
    def _rate_is_whole(self) -> KeyEntry:
        if (self.images_per_s is None) != (self.burst is None):
            raise ValueError("images_per_s and burst: one is missing; write both or neither")
        return self

    def is_live(self, now_s: float) -> bool:
        """Whether the key has not expired. ``now_s`` is Unix time."""
        return self.expires is None or self.expires.timestamp() > now_s

    def caller(self) -> Caller:
        """Who asks with this key."""
        rate = None
        if self.images_per_s is not None and self.burst is not None:
            rate = Rate(self.images_per_s, self.burst)
        objects = None if self.objects is None else tuple(map(_below, self.objects))
        return Caller(
            self.name,
            frozenset(self.scopes),
            self.label_sets,
            objects,
            self.tenants,
            self.ignore_text,
            FIRST if self.priority == "live" else FIRST + 1,
            rate,
            self.proxy,
        )

    def line(self) -> str:
        """The entry as a line of a file."""
        return self.model_dump_json(exclude_none=True, exclude_defaults=True) + "\n"


def _below(pattern: str) -> str:
    whole = "/" not in pattern.removeprefix("https://")
    return f"{pattern}/*" if whole else f"{pattern}*" if pattern.endswith("/") else pattern


def new_key() -> tuple[str, str, str]:
    """A key as its owner sends it, its id and the digest of its secret."""
    key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    return f"{PREFIX}{key_id}_{secret}", key_id, digest(secret)


def digest(secret: str) -> str:
    """The digest that a file holds. A fast one: the secrets are random, not words."""
    return hashlib.sha256(secret.encode()).hexdigest()


def split(key: str) -> tuple[str, str] | None:
    """Id and secret of what a caller sent, or None if it does not look like a key."""
    if not key.startswith(PREFIX):
        return None
    key_id, _, secret = key[len(PREFIX) :].partition("_")
    return (key_id, secret) if key_id and secret else None


def contents(path: Path) -> tuple[tuple[Path, bytes], ...]:
    """The files of ``path``, and what is in them.

    Raises:
        Halt: ``keys.invalid``: a file cannot be read, or a folder has none.
    """
    try:
        if not path.is_dir():
            return ((path, path.read_bytes()),)
        files = sorted(file for file in path.iterdir() if not file.name.startswith("."))
        found = tuple((file, file.read_bytes()) for file in files if file.is_file())
    except OSError as error:
        raise Halt(
            "keys.invalid",
            f"serve.keys: {path} cannot be read ({error.strerror}); write a key with "
            "`clipstream keys create`, or fix the path and its permissions",
        ) from error
    if not found:
        raise Halt("keys.invalid", f"serve.keys: the folder {path} has no file; add one")
    return found


def parsed(files: Iterable[tuple[Path, bytes]]) -> tuple[KeyEntry, ...]:
    """The keys of these files.

    Raises:
        Halt: ``keys.invalid``, with one line for each problem. No line shows a value.
    """
    problems: list[str] = []
    entries: dict[str, KeyEntry] = {}
    for path, content in files:
        if not content:
            # An editor that writes in place empties the file first.
            problems.append(f"{path}: the file is empty; write a key, or a comment")
        for number, line in enumerate(content.splitlines(), 1):
            if not line.strip() or line.startswith(b"#"):
                continue
            try:
                entry = KeyEntry.model_validate_json(line)
            except ValidationError as invalid:
                for each in invalid.errors(include_url=False, include_input=False):
                    where = ".".join(map(str, each["loc"])) or "the line"
                    problems.append(f"{path}:{number}: {where}: {each['msg']}")
                continue
            if entry.id in entries:
                problems.append(f"{path}:{number}: id: {entry.id} stands there twice; remove one")
            entries[entry.id] = entry
    if problems:
        raise Halt("keys.invalid", "\n".join(problems))
    return tuple(entries.values())


@contextmanager
def changing(path: Path) -> Iterator[Callable[[str], None]]:
    """Nobody else changes the file during the block. What is passed to the function that the block
    gets becomes the file's text at once, readable by its owner alone.

    Raises:
        Halt: ``keys.unwritable``.
    """
    path = path.resolve()
    if path.is_dir():
        raise Halt(
            "keys.unwritable",
            f"keys: {path} is a folder, and only read; use --print and add the line to a file",
        )
    try:
        # The folder is locked and not the file, because a change replaces the file.
        lock = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lambda text: _replace(path, text)
        finally:
            os.close(lock)
    except OSError as error:
        raise Halt(
            "keys.unwritable", f"keys: {path} cannot be written ({error.strerror}); fix its folder"
        ) from error


def _replace(path: Path, text: str) -> None:
    # mkstemp makes the file with mode 0600.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    written = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)
    except BaseException:
        written.unlink()
        raise
