"""Texts of requests: their bounds, their embeddings, and label sets made of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from pydantic_core import to_json

from pipeline.complaints import dotted
from pipeline.errors import Halt
from pipeline.labels.label_set import LabelSet
from pipeline.labels.parsing import InvalidLabelSet, parse_label_set
from pipeline.labels.scoring import CompiledLabelSet, compile_label_sets
from pipeline.ports import Encoder
from pipeline.records import JsonValue, Vector
from workers.serve.errors import ApiError
from workers.serve.recent import Recent
from workers.settings.serve import ServePolicy

MAX_CHARACTERS = 2_000
"""A longer text is not even tokenized. 77 tokens have some 300 characters."""

AT_ONCE = 64
"""Texts of one call of the encoder. A request with many texts does not hold up the others for
longer than such a call takes."""

KEPT_LABEL_SETS_BYTES = 32 * 1024 * 1024
"""Vectors of label sets of requests that are kept: a set of 20 labels has 80 KiB at most."""

RETRY_S = 1.0
SHOWN = 80


@dataclass(slots=True)
class _Wanted:
    """A text that is being embedded, or waits for that, and how many requests wait for it."""

    vector: asyncio.Future[Vector]
    requests: int = 0


class Prompts:
    """Embeds texts of requests, each once. Belongs to one event loop; ``close`` ends its task.

    Texts of requests that come at the same time are embedded together. The texts and label sets
    that were used last are kept, so that a request that is like an earlier one costs no call of the
    model and no thread.
    """

    def __init__(
        self,
        encoder: Encoder,
        encode_texts: Callable[[Sequence[str]], Vector],
        policy: ServePolicy,
    ) -> None:
        """``encode_texts`` blocks; it runs in a thread."""
        self._model = encoder.model
        self._tokens = encoder.prompts
        self._encode_texts = encode_texts
        self._policy = policy
        self._known: Recent[str, Vector] = Recent(policy.remembered_prompts)
        self._label_sets: Recent[bytes, CompiledLabelSet] = Recent(
            KEPT_LABEL_SETS_BYTES, lambda compiled: compiled.rows.nbytes
        )
        self._wanted: dict[str, _Wanted] = {}
        self._queued: dict[str, None] = {}  # those wanted that no call has taken, in order
        self._embedding: asyncio.Task[None] | None = None

    async def embed(self, texts: Sequence[str], param: str) -> Vector:
        """Unit vectors [len(texts), dimension] in order. ``param`` names the texts in the request.

        Raises:
            ApiError: 400: too many texts, or one that is empty or too long for the model; 429: too
                many texts of other requests wait.
            Halt, WorkerLost: this replica cannot go on.
        """
        vectors = await self._vectors(
            texts, [param] if len(texts) == 1 else [f"{param}[{at}]" for at in range(len(texts))]
        )
        return np.stack([vectors[text] for text in texts])

    async def tokens(self, texts: Sequence[str]) -> int:
        """How many tokens the model reads for texts that ``embed`` took."""
        return sum(map(len, await self._tokenized(texts))) if texts else 0

    async def compiled(
        self, document: Mapping[str, JsonValue], param: str | None = None
    ) -> CompiledLabelSet:
        """The label set of a request, from the same data that a label set's file has.

        ``param`` is what the request calls the labels. None: the request has the document's own
        keys, and an error names the one at fault.

        Raises:
            ApiError: 400: the document is no label set, or the model cannot use it; 429: as
                ``embed``.
            Halt, WorkerLost: as ``embed``.
        """
        key = to_json(document)
        compiled = self._label_sets.get(key)
        if compiled is None:
            compiled = await self._compile(dict(document), param)
            self._label_sets.put(key, compiled)
        return compiled

    async def close(self) -> None:
        """End. Requests that still wait are cancelled."""
        if self._embedding is not None:
            self._embedding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._embedding
        for wanted in self._wanted.values():
            wanted.vector.cancel()

    async def _compile(self, document: JsonValue, param: str | None) -> CompiledLabelSet:
        try:
            label_set = await asyncio.to_thread(parse_label_set, document)
        except InvalidLabelSet as invalid:
            raise _no_label_set(invalid, param) from None
        texts = _prompts_of(label_set)
        vectors = await self._vectors(list(texts), [param or place for place in texts.values()])

        def known(prompts: Sequence[str]) -> Vector:
            return np.stack([vectors[prompt] for prompt in prompts])

        try:
            (compiled,) = await asyncio.to_thread(
                compile_label_sets, [label_set], known, self._model
            )
        except Halt as invalid:
            _, _, what = invalid.message.partition(f"label set {label_set.name!r}: ")
            raise ApiError(
                400, "invalid_labels", what or invalid.message, param=param or "labels"
            ) from None
        return compiled

    async def _vectors(self, texts: Sequence[str], params: Sequence[str]) -> dict[str, Vector]:
        """The texts' vectors. ``params`` names each text in the request."""
        if len(texts) > self._policy.max_prompts:
            raise ApiError(
                400,
                "too_many_prompts",
                f"{len(texts)} prompts exceed serve.max_prompts = {self._policy.max_prompts}; "
                "send fewer",
                param=params[0].partition("[")[0],
            )
        vectors: dict[str, Vector] = {}
        missing: dict[str, str] = {}
        for text, param in zip(texts, params, strict=True):
            if (vector := self._known.get(text)) is not None:
                vectors[text] = vector
            else:
                missing.setdefault(text, param)
        if missing:
            await self._check(missing)
            vectors |= await self._embedded(list(missing))
        return vectors

    async def _check(self, texts: Mapping[str, str]) -> None:
        """Refuse texts that the model cannot read. ``texts`` maps each to its name."""
        for text, param in texts.items():
            if not text.strip():
                raise ApiError(400, "empty_prompt", "is empty; send a text", param=param)
            if len(text) > MAX_CHARACTERS:
                raise _too_long(text, f"{len(text)} characters against {MAX_CHARACTERS}", param)
        tokens = await self._tokenized(list(texts))
        most = self._tokens.max_tokens
        for (text, param), ids in zip(texts.items(), tokens, strict=True):
            if len(ids) > most:
                raise _too_long(text, f"{len(ids)} tokens against the model's {most}", param)

    async def _tokenized(self, texts: Sequence[str]) -> Sequence[Sequence[int]]:
        if len(texts) <= AT_ONCE:
            return self._tokens.tokenize(texts)
        return await asyncio.to_thread(self._tokens.tokenize, texts)

    async def _embedded(self, texts: Sequence[str]) -> dict[str, Vector]:
        self._require_room(texts)
        wanted = {text: self._want(text) for text in texts}
        if self._embedding is None or self._embedding.done():
            self._embedding = asyncio.create_task(self._embed_queued(), name="prompts")
        try:
            await asyncio.wait([each.vector for each in wanted.values()])
        finally:
            for text, each in wanted.items():
                each.requests -= 1
                if not each.requests and text in self._queued:  # its request is gone
                    del self._queued[text], self._wanted[text]
        return {text: each.vector.result() for text, each in wanted.items()}

    def _require_room(self, texts: Sequence[str]) -> None:
        queued, most = len(self._queued), self._policy.remembered_prompts
        if queued and queued + len(texts) > most:
            raise ApiError(
                429,
                "overloaded",
                f"{queued} prompts wait for the model (serve.remembered_prompts = {most}); "
                "try again",
                retry_after_s=RETRY_S,
            )

    def _want(self, text: str) -> _Wanted:
        wanted = self._wanted.get(text)
        if wanted is None:
            wanted = _Wanted(asyncio.get_running_loop().create_future())
            self._wanted[text] = wanted
            self._queued[text] = None
        wanted.requests += 1
        return wanted

    async def _embed_queued(self) -> None:
        while texts := list(islice(self._queued, AT_ONCE)):
            taken = {text: self._wanted[text] for text in texts}
            for text in texts:
                del self._queued[text]
            try:
                rows = await asyncio.to_thread(self._encode_texts, texts)
                for (text, wanted), row in zip(taken.items(), rows, strict=True):
                    vector = row.copy()  # a view would keep the vectors of the whole call
                    self._known.put(text, vector)
                    wanted.vector.set_result(vector)
            except Exception as error:  # noqa: BLE001 - it belongs to those who wait
                for wanted in taken.values():
                    if not wanted.vector.done():
                        wanted.vector.set_exception(error)
                        wanted.vector.exception()  # asked for, because its requests may be gone
            finally:
                for text, wanted in taken.items():
                    wanted.vector.cancel()  # does nothing to one that is done
                    del self._wanted[text]


def _prompts_of(label_set: LabelSet) -> dict[str, str]:
    """The label set's prompts, each once, with the name of its first label."""
    places: dict[str, str] = {}
    for index, label in enumerate(label_set.labels):
        for prompt in (*label.prompts, *label.contrast):
            places.setdefault(prompt, f"labels[{index}]")
    return places


def _no_label_set(invalid: InvalidLabelSet, param: str | None) -> ApiError:
    problems = invalid.problems
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    listed: list[JsonValue] = [
        {"param": param or dotted(problem.path), "message": problem.message}
        for problem in problems[:SHOWN]
    ]
    return ApiError(
        400,
        "invalid_labels",
        f"{problems[0]}{more}",
        param=param or dotted(problems[0].path) or None,
        more={"problems": listed},
    )


def _too_long(text: str, what: str, param: str) -> ApiError:
    return ApiError(
        400,
        "prompt_too_long",
        f"the prompt {text[:SHOWN]!r} has {what}; shorten it: a cut prompt would mean something "
        "else",
        param=param,
    )
