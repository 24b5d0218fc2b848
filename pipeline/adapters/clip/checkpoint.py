"""Finds a CLIP checkpoint's files, in the Hugging Face hub's cache or a local directory.

Only safetensors weights are accepted, because pickled weights can execute code.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import RevisionNotFoundError
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # the one it uses

from pipeline.errors import Halt

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"  # transformers 5 nests the former's content here

TOKENIZERS = ("tokenizer.json", "vocab.json")
"""A checkpoint has at least one of them."""

RELEVANT = (
    CONFIG,
    PREPROCESSOR,
    PROCESSOR,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    WEIGHTS,
    WEIGHTS_INDEX,
    "model-*-of-*.safetensors",
)
"""Every file that affects an embedding. Only these are downloaded, read and hashed."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete local copy of a checkpoint. ``revision`` is the hub's commit hash, or ``sha256:…``
    over the relevant files of a directory."""

    name: str
    revision: str
    directory: Path

    def __str__(self) -> str:
        return f"{self.name}@{self.revision[:19]}"


def from_directory(name: str, directory: Path) -> Checkpoint:
    """A checkpoint in a local directory.

    Its revision is the SHA-256 of the lines ``<file name> <SHA-256 of the file>`` of its relevant
    files in order of name. The same files give the same revision wherever they are.

    Raises:
        Halt: ``model.not_found`` or ``model.incomplete``.
    """
    if not directory.is_dir():
        raise Halt(
            "model.not_found",
            f"model.directory: {directory} is not a directory; name the checkpoint's",
        )
    _require_complete(directory, where=f"model.directory {directory}")
    manifest = hashlib.sha256()
    for path in relevant_files(directory):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        manifest.update(f"{path.name} {digest}\n".encode())
    return Checkpoint(name, f"sha256:{manifest.hexdigest()}", directory)


def relevant_files(directory: Path) -> list[Path]:
    """The files of a directory that are part of a checkpoint, in order of name."""
    return sorted(path for path in directory.iterdir() if is_relevant(path.name))


def is_relevant(file: str) -> bool:
    """Whether a file is part of a checkpoint. A name in a further folder is not."""
    return "/" not in file and any(fnmatch.fnmatchcase(file, pattern) for pattern in RELEVANT)


def from_hub(
    name: str, revision: str, *, cache_directory: Path | None, offline: bool
) -> Checkpoint:
    """A checkpoint of the Hugging Face hub at a commit. Taken from the local cache if it is
    complete there.

    Raises:
        Halt: ``model.not_found``, ``model.incomplete`` or ``model.unreachable``.
    """
    try:
        return _snapshot(name, revision, cache_directory, local=True)
    except Halt:
        # Incomplete or absent. An interrupted download is continued.
        if offline:
            raise
    return _snapshot(name, revision, cache_directory, local=False)


def tokenizer_files(
    name: str, revision: str, directory: Path | None, *, cache_directory: Path | None
) -> Checkpoint:
    """The local files of a model's tokenizer and configuration, with or without weights. Downloads
    nothing. The revision of a directory is not computed.

    Raises:
        Halt: ``model.not_found``.
    """
    if directory is None:
        try:
            snapshot = snapshot_download(
                name,
                revision=revision,
                cache_dir=cache_directory,
                allow_patterns=list(RELEVANT),
                local_files_only=True,
            )
        except (OSError, ValueError) as error:
            raise Halt(
                "model.not_found",
                f"model {name}@{revision[:19]}: not in the hub's local cache; fill it, or set "
                "model.directory",
            ) from error
        directory = Path(snapshot)
    tokenizers = [directory / file for file in TOKENIZERS]
    if not (directory / CONFIG).is_file() or not any(file.is_file() for file in tokenizers):
        raise Halt(
            "model.not_found",
            f"model {name}: {directory} lacks {CONFIG}, or {' and '.join(TOKENIZERS)}; name the "
            "checkpoint's directory",
        )
    return Checkpoint(name, revision, directory)


def _snapshot(name: str, revision: str, cache_directory: Path | None, *, local: bool) -> Checkpoint:
    where = f"model {name}@{revision}"
    try:
        directory = snapshot_download(
            name,
            revision=revision,
            cache_dir=cache_directory,
            allow_patterns=list(RELEVANT),
            local_files_only=local,
        )
    except RevisionNotFoundError as error:
        raise Halt(
            "model.not_found",
            f"{where}: the repository has no such commit; set model.revision to one it has",
        ) from error
    except (OSError, ValueError, httpx.HTTPError) as error:
        if local:
            raise Halt(
                "model.not_found",
                f"{where}: not in the hub's local cache; allow the download (model.offline = "
                "false), fill the cache beforehand, or set model.directory",
            ) from error
        raise Halt(
            "model.unreachable",
            f"{where}: the download failed ({type(error).__name__}: {first_line(error)}); check "
            "the name, the network, the proxy, the token for a gated model, and that "
            "model.cache_directory can be written and has free space",
        ) from error
    _require_complete(Path(directory), where=where)
    return Checkpoint(name, revision, Path(directory))


def _require_complete(directory: Path, *, where: str) -> None:
    def missing(what: str, remedy: str) -> Halt:
        return Halt("model.incomplete", f"{where}: {what} is missing; {remedy}")

    if not (directory / CONFIG).is_file():
        raise missing(CONFIG, "give a complete checkpoint as transformers saves it")
    if not any((directory / file).is_file() for file in (PREPROCESSOR, PROCESSOR)):
        raise missing(
            PREPROCESSOR, "copy it from the model's origin: sizes, mean and std are in it"
        )
    if not any((directory / file).is_file() for file in TOKENIZERS):
        raise missing("tokenizer.json (or vocab.json)", "save the model's tokenizer with it")
    if not weight_files(directory):
        raise missing(
            WEIGHTS,
            "pickled weights are never loaded: pin a revision that has safetensors (often the "
            "head of the repository's safetensors pull request), or convert the weights with "
            "save_pretrained and set model.directory",
        )
    for file in weight_files(directory):
        if not file.is_file():
            raise missing(file.name, f"{WEIGHTS_INDEX} names it: fetch the checkpoint again")


def weight_files(directory: Path) -> list[Path]:
    """Files that hold the weights: one file, or the shards that the index names. Empty without
    weights."""
    if (directory / WEIGHTS).is_file():
        return [directory / WEIGHTS]
    index = directory / WEIGHTS_INDEX
    if not index.is_file():
        return []
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise Halt("model.incomplete", f"{index}: no weight_map; fetch the checkpoint again")
    return [directory / name for name in sorted(set(shards.values()))]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a checkpoint.

    Raises:
        Halt: ``model.incomplete``.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Halt(
            "model.incomplete", f"{path}: cannot be read ({first_line(error)}); fetch it again"
        ) from error
    if not isinstance(content, dict):
        raise Halt("model.incomplete", f"{path}: is not a JSON object; fetch it again")
    return content


def first_line(error: BaseException) -> str:
    """The first line of a library's error, without its further text."""
    return next(iter(str(error).splitlines()), type(error).__name__)
