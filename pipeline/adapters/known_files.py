"""Reads lists of known pictures: a header in YAML, and the entries in a file beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.adapters.yaml_lines import Unreadable, file_text, read_yaml
from pipeline.errors import Halt
from pipeline.known.digests import Digests, DigestTable
from pipeline.known.lists import KnownLists, LoadedList
from pipeline.known.parsing import InvalidKnownList, parse_header

MAX_ENTRIES = 20_000_000
"""Entries of a list of hashes. They take 2 GB of memory in each worker."""
_DIGEST_CHARACTERS = 64
_SUFFIXES = (".yaml", ".yml")


class _Invalid(Exception):
    """What is wrong with a list, one line each."""

    def __init__(self, *lines: str) -> None:
        super().__init__(lines)
        self.lines = lines


def load_known(paths: Sequence[Path]) -> KnownLists:
    """Read lists, one for each header. A folder stands for its ``.yaml`` and ``.yml`` files. Blocks
    for a second for each million entries.

    Raises:
        Halt: ``known.invalid``. The message has one line for every problem of every file, as
            ``file:line: what is wrong; what to write instead``.
    """
    problems: list[str] = []
    loaded: dict[str, LoadedList] = {}
    for path in _headers(paths, problems):
        try:
            each = _load(path)
        except _Invalid as invalid:
            problems += invalid.lines
            continue
        if each.known.name in loaded:
            problems.append(
                f"{path}: name: {each.known.name!r} is the name of another list too; rename one"
            )
        loaded[each.known.name] = each
    if problems:
        raise Halt("known.invalid", "\n".join(problems))
    return KnownLists(loaded.values())


def fingerprint(paths: Sequence[Path]) -> str:
    """Changes when a header changes, or when a file of entries is written: its size, time or place.
    Files of entries are large, so they are not read."""
    problems: list[str] = []
    digest = hashlib.sha256()
    for path in _headers(paths, problems):
        try:
            text = file_text(path)
            _, entries = parse_header(read_yaml(text).data)
            stat = (path.parent / entries).stat()
            seen = f"{text}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ino}"
        except (Unreadable, InvalidKnownList, OSError) as error:
            seen = f"{error}"
        digest.update(f"{path}\0{seen}\0".encode())
    digest.update("\0".join(problems).encode())
    return digest.hexdigest()


def _headers(paths: Sequence[Path], problems: list[str]) -> Iterator[Path]:
    for path in paths:
        try:
            if not path.is_dir():
                yield path
                continue
            files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
        except OSError as error:
            problems.append(f"{path}: cannot be read ({error.strerror}); fix its permissions")
            continue
        yield from files


def _load(path: Path) -> LoadedList:
    try:
        file = read_yaml(file_text(path))
    except Unreadable as error:
        raise _Invalid(error.at(path)) from None
    try:
        known, entries = parse_header(file.data)
    except InvalidKnownList as error:
        file.problems += [(file.line(each.path), each) for each in error.problems]
    if file.problems:
        raise _Invalid(*(f"{path}:{line}: {each}" for line, each in file.problems))
    digests = _digests(path.parent / entries)
    return LoadedList(known, known.version(_hash_of(digests)), DigestTable(digests))


def _hash_of(entries: Digests) -> str:
    return hashlib.sha256(np.ascontiguousarray(entries).data).hexdigest()


def _digests(path: Path) -> Digests:
    """One digest of 64 hexadecimal digits a line. ``#`` begins a comment; empty lines count for
    nothing."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.reason
        raise _Invalid(f"{path}: cannot be read ({reason}); check `entries`") from None
    words: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        if len(word) != _DIGEST_CHARACTERS or not word.isalnum():
            raise _Invalid(
                f"{path}:{number}: {len(word)} characters, not {_DIGEST_CHARACTERS} hexadecimal "
                "digits; write one hash a line, and # before a comment"
            )
        words.append(word)
    if not words:
        raise _Invalid(f"{path}: no entry; write one hash a line, or take the list out")
    if len(words) > MAX_ENTRIES:
        raise _Invalid(f"{path}: {len(words):,} entries against {MAX_ENTRIES:,}; split the list")
    try:
        content = bytes.fromhex("".join(words))
    except ValueError:
        bad = next(word for word in words if not _is_hex(word))
        raise _Invalid(
            f"{path}: {bad[:16]!r}… is not hexadecimal; write the digits 0-9 and a-f"
        ) from None
    return np.frombuffer(content, np.uint8).reshape(len(words), -1)


def _is_hex(word: str) -> bool:
    try:
        bytes.fromhex(word)
    except ValueError:
        return False
    return True
