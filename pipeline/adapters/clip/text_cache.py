"""Keeps the embeddings of prompts on disk, so that a restart embeds only new prompts."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.labels.scoring import EncodeTexts
from pipeline.records import ModelIdentity, Vector

logger = logging.getLogger(__name__)

MAX_PROMPTS = 50_000
"""Most prompts in one file: about 100 MB at 512 dimensions."""
_VERSION = "v2"
"""Of the file and of the text tower's arithmetic. Another order of sums changes the last bits, and
workers of one version should agree in all of them."""
_DIGEST_BYTES = hashlib.sha256().digest_size


def cached(encode: EncodeTexts, model: ModelIdentity, directory: Path | None) -> EncodeTexts:
    """``encode`` with the cache of ``directory``. None: without a cache."""
    return encode if directory is None else CachedTexts(encode, model, directory)


class CachedTexts:
    """Decorates ``encode_texts`` with a file of prompt embeddings for each model.

    A file belongs to one name, revision, precision and engine. Each embedding is stored under the
    SHA-256 of its prompt, so an edited label set costs only its new prompts. The file is a SHA-256
    of the rest, followed by an npz archive. No fault of the disk is fatal: a damaged file is made
    again, and if nothing can be written, every start embeds every prompt. Both log a warning. Files
    are replaced as a whole, so readers never see half a file, and of two writers the later one
    wins.
    """

    def __init__(
        self, encode: EncodeTexts, model: ModelIdentity, directory: Path, *, keep: bool = True
    ) -> None:
        """``keep`` is false where ``encode`` may run on another engine than ``model`` names: its
        embeddings are not put into the file."""
        self._encode = encode
        self._keep = keep
        identity = json.dumps(
            [model.name, model.revision, model.precision, model.engine, model.dimension]
        )
        digest = hashlib.sha256(identity.encode()).hexdigest()
        self._dimension = model.dimension
        self._path = directory / f"texts-{digest[:32]}.{_VERSION}"

    def __call__(self, prompts: Sequence[str]) -> Vector:
        """Embed ``prompts``; returns [len(prompts), dimension] in order, as ``encode_texts``.

        Raises:
            Halt: raised by ``encode_texts``.
        """
        known = self._read()
        digests = [hashlib.sha256(prompt.encode()).hexdigest() for prompt in prompts]
        missing = {
            digest: prompt
            for digest, prompt in zip(digests, prompts, strict=True)
            if digest not in known
        }
        if missing:
            vectors = self._encode(tuple(missing.values()))
            fresh = dict(zip(missing, vectors, strict=True))
            if len(known) + len(fresh) > MAX_PROMPTS:
                known = {digest: known[digest] for digest in digests if digest in known}
            known |= fresh
            sound = vectors.shape[1:] == (self._dimension,) and np.isfinite(vectors).all()
            if self._keep and sound:
                self._write(known)
        return np.stack([known[digest] for digest in digests])

    def _read(self) -> dict[str, Vector]:
        try:
            content = self._located().read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._warn("cannot be read", error.strerror)
            return {}
        digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if digest != hashlib.sha256(payload).digest():
            # Checked before the bytes are parsed, because a flipped bit must not become a score.
            self._warn("is damaged", "its checksum differs")
            return {}
        with np.load(io.BytesIO(payload), allow_pickle=False) as archive:
            prompts, vectors = archive["prompts"].tolist(), archive["vectors"]
        return dict(zip((prompt.decode() for prompt in prompts), vectors, strict=True))

    def _write(self, known: dict[str, Vector]) -> None:
        buffer = io.BytesIO()
        prompts = np.array([prompt.encode() for prompt in known])
        np.savez(buffer, prompts=prompts, vectors=np.stack(list(known.values())))
        payload = buffer.getvalue()
        # Not synced. After a power cut the checksum fails, and the file is made again.
        temporary: Path | None = None
        try:
            path = self._located()
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=path.parent, prefix=f"{path.name}-", delete=False
            ) as file:
                temporary = Path(file.name)
                file.write(hashlib.sha256(payload).digest() + payload)
            temporary.replace(path)
        except OSError as error:
            self._warn("cannot be written", error.strerror)
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)

    def _located(self) -> Path:
        try:
            return self._path.expanduser()
        except RuntimeError as error:  # a container's user may have no home
            raise FileNotFoundError(errno.ENOENT, str(error)) from error

    def _warn(self, what: str, why: str | None) -> None:
        logger.warning("%s: %s (%s); its prompts are embedded again", self._path, what, why)
