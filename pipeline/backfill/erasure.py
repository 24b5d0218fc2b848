"""What a person asks to be erased from a job's files, and what was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from typing import Self

from pipeline.backfill.job import Count, Written
from pipeline.errors import Halt
from pipeline.records import JsonValue

_SCHEME = "s3://"


class Targets:
    """Objects to erase, in every version: URIs, and keys of whatever bucket."""

    def __init__(self, uris: Collection[str], keys: Collection[str]) -> None:
        self.keys = frozenset(keys)
        self.in_bucket: dict[str, set[str]] = {}
        for uri in uris:
            bucket, _, key = uri.removeprefix(_SCHEME).partition("/")
            self.in_bucket.setdefault(bucket, set()).add(key)
        self._uris = frozenset(uris)
        self._known = {key for keys in self.in_bucket.values() for key in keys} | self.keys

    def __len__(self) -> int:
        return len(self._uris) + len(self.keys)

    @property
    def digest(self) -> str:
        """SHA-256 over the sorted list."""
        named = json.dumps(sorted([*self._uris, *self.keys]), separators=(",", ":"))
        return hashlib.sha256(named.encode()).hexdigest()

    @classmethod
    def of_lines(cls, lines: Iterable[str], name: str) -> Self:
        """One object a line: ``s3://BUCKET/KEY``, or a key. A line that begins with a double quote
        is a JSON string, for keys with line breaks. Empty lines are passed over.

        Raises:
            Halt: ``backfill.invalid``, with the file's ``name`` and the line.
        """
        texts = set()
        for number, line in enumerate(lines, 1):
            text: JsonValue = line.rstrip("\r\n")
            if isinstance(text, str) and text.startswith('"'):
                try:
                    text = json.loads(text)
                except ValueError:
                    text = None
            if not isinstance(text, str) or (text.startswith(_SCHEME) and not _has_key(text)):
                raise Halt(
                    "backfill.invalid",
                    f"{name}:{number}: is no object; write s3://BUCKET/KEY, a key or a JSON string",
                )
            texts.add(text)
        texts.discard("")
        if not texts:
            raise Halt("backfill.invalid", f"{name}: names no object; write one a line")
        return cls(
            [text for text in texts if text.startswith(_SCHEME)],
            [text for text in texts if not text.startswith(_SCHEME)],
        )

    def mentioned_in(self, text: str) -> bool:
        """Whether a text is a target, or a message about one, which begins with its URI."""
        for part in (text, text.partition(": ")[0]):
            if part in self._uris or part in self._known:
                return True
            if part.startswith(_SCHEME):
                _, _, key = part.removeprefix(_SCHEME).partition("/")
                if key in self.keys:
                    return True
        return False

    def without(self, value: JsonValue, rows: Collection[int] = ()) -> JsonValue:
        """A JSON value without what mentions a target, or one of a shard's ``rows``: such an
        object or text goes from the list or the object that holds it."""
        if isinstance(value, list):
            return [self.without(each, rows) for each in value if not self._mentions(each, rows)]
        if isinstance(value, dict):
            return {
                name: self.without(each, rows)
                for name, each in value.items()
                if not self.mentioned_in(name) and not self._mentions(each, rows)
            }
        return value

    def _mentions(self, value: JsonValue, rows: Collection[int]) -> bool:
        if isinstance(value, str):
            return self.mentioned_in(value)
        if not isinstance(value, dict):
            return False
        return value.get("row") in rows or any(
            self.mentioned_in(each) for each in value.values() if isinstance(each, str)
        )


class Erasure(Written):
    """One run of the command.

    ``targets`` were asked for, and ``targets_sha256`` is a hash of their sorted list. The keys
    themselves stand nowhere, nor a hash of each: keys can often be guessed, and a hash of a guess
    would find them. Who has kept the list can show that it was this one.

    ``rows`` were taken out of the plan, ``results`` of them out of data files and ``failures`` out
    of errors files. ``files`` were rewritten or deleted. ``ended_at`` is None if the run did not
    come to its end; another run with the same list finishes it, and counts what was left.
    """

    targets: Count
    targets_sha256: str
    began_at: str
    ended_at: str | None = None
    rows: Count = 0
    results: Count = 0
    failures: Count = 0
    files: tuple[str, ...] = ()


class Erasures(Written):
    """``erased.json``."""

    erasures: tuple[Erasure, ...] = ()


def _has_key(uri: str) -> bool:
    bucket, _, key = uri.removeprefix(_SCHEME).partition("/")
    return bool(bucket and key)
