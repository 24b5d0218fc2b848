"""Reads lists of known pictures: a header in YAML, and a file of entries."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.adapters.yaml_lines import Unreadable, file_text, read_yaml, yaml_files
from pipeline.errors import Halt
from pipeline.known.cosines import CosineTable
from pipeline.known.digests import Digests, DigestTable
from pipeline.known.hamming import HammingTable
from pipeline.known.lists import KnownList, KnownLists, LoadedList
from pipeline.known.parsing import InvalidKnownList, parse_header
from pipeline.records import ModelIdentity
from pipeline.records.known import KnownKind

MAX_ENTRIES = 20_000_000
"""Entries of a list of hashes. They take 0.9 GB of memory in each worker, or 4.5 GB of kind pdq."""
MAX_VECTORS = 100_000
"""Entries of a list of embeddings: each image costs more with each of them
(docs/known-pictures.md)."""
_LEAST_LENGTH = 1e-6
_DIGEST_CHARACTERS = 64


class _Invalid(Exception):
    """What is wrong with a list, one line each."""

    def __init__(self, *lines: str) -> None:
        super().__init__(lines)
        self.lines = lines


def load_known(paths: Sequence[Path], model: ModelIdentity | None = None) -> KnownLists:
    """Read lists, one for each header. A folder stands for its ``.yaml`` and ``.yml`` files. Blocks
    for seconds for each million entries. ``model`` is the loaded model, which embeddings must be
    of; None: there is none to compare with.

    Raises:
        Halt: ``known.invalid``. The message has one line for every problem of every file, as
            ``file:line: what is wrong; what to write instead``.
    """
    problems: list[str] = []
    loaded: dict[str, LoadedList] = {}
    for path in yaml_files(paths, problems):
        try:
            each = _load(path, model)
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


def kinds(paths: Sequence[Path]) -> frozenset[KnownKind]:
    """The kinds of the lists, as far as their headers can be read."""
    found = set()
    for path in yaml_files(paths, []):
        with contextlib.suppress(Unreadable, InvalidKnownList):
            found.add(parse_header(read_yaml(file_text(path)).data)[0].kind)
    return frozenset(found)


def fingerprint(paths: Sequence[Path]) -> str:
    """Changes when a header changes, or when a file of entries is written: its size, time or place.
    Files of entries are large, so they are not read."""
    problems: list[str] = []
    digest = hashlib.sha256()
    for path in yaml_files(paths, problems):
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


def _load(path: Path, model: ModelIdentity | None) -> LoadedList:
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
    if known.kind is KnownKind.EMBEDDING:
        _check_model(path, known, model)
        vectors = _vectors(path.parent / entries, model)
        return LoadedList(known, known.version(_hash_of(vectors)), CosineTable(vectors))
    digests = _digests(path.parent / entries)
    table = HammingTable(digests) if known.kind is KnownKind.PDQ else DigestTable(digests)
    return LoadedList(known, known.version(_hash_of(digests)), table)


def _hash_of(entries: npt.NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(entries).data).hexdigest()


def _check_model(path: Path, known: KnownList, model: ModelIdentity | None) -> None:
    pin = known.model
    if model is None or pin is None or (pin.name, pin.revision) == (model.name, model.revision):
        return
    raise _Invalid(
        f"{path}: model: the embeddings are of {pin.name} at revision {pin.revision}, and "
        f"{model.name} at revision {model.revision} is loaded; compute them again with that"
    )


def _vectors(path: Path, model: ModelIdentity | None) -> npt.NDArray[np.float32]:
    """A NumPy array of numbers, [entries, dimension]."""
    try:
        found: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _Invalid(f"{path}: cannot be read as .npy ({error}); check `entries`") from None
    if found.dtype.kind != "f" or found.ndim != 2 or len(found) == 0:
        raise _Invalid(
            f"{path}: an array of {found.dtype} with the shape {found.shape}, not of float32 with "
            "[entries, dimension]; save one embedding a row"
        )
    entries, dimension = found.shape
    if entries > MAX_VECTORS:
        raise _Invalid(f"{path}: {entries:,} entries against {MAX_VECTORS:,}; thin the list")
    if model is not None and dimension != model.dimension:
        raise _Invalid(
            f"{path}: embeddings of {dimension} elements, and {model.name} has {model.dimension}; "
            "compute them with the loaded model"
        )
    lengths = np.linalg.norm(found.astype(np.float64), axis=1)
    wrong = np.flatnonzero(~((lengths > _LEAST_LENGTH) & np.isfinite(lengths)))
    if len(wrong):
        raise _Invalid(f"{path}: row {wrong[0] + 1} is no direction; remove it")
    return found.astype(np.float32)


def _digests(path: Path) -> Digests:
    """One digest of 64 hexadecimal digits a line. What follows it after a space, and what follows
    ``#``, is a comment. Empty lines count for nothing."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.reason
        raise _Invalid(f"{path}: cannot be read ({reason}); check `entries`") from None
    words: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        word, *_ = (*line.partition("#")[0].split(maxsplit=1), "")
        if not word:
            continue
        if len(word) != _DIGEST_CHARACTERS or not word.isalnum():
            raise _Invalid(
                f"{path}:{number}: {len(word)} characters, not {_DIGEST_CHARACTERS} hexadecimal "
                "digits; write one hash a line, and a space or # before a comment"
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
