"""Texts of requests: their bounds, their embeddings, and label sets made of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from pipeline.errors import Halt
from pipeline.labels.label_set import LabelSet
from pipeline.labels.remembered import RememberedTexts
from pipeline.labels.scoring import CompiledLabelSet, compile_label_sets
from pipeline.ports import Encoder
from pipeline.records import Vector
from workers.serve.errors import ApiError
from workers.settings.serve import ServePolicy


class Prompts:
    """Embeds texts of requests, each once. Belongs to one event loop."""

    def __init__(
        self,
        encoder: Encoder,
        encode_texts: Callable[[Sequence[str]], Vector],
        policy: ServePolicy,
    ) -> None:
        """``encode_texts`` blocks; it runs in threads."""
        self._encoder = encoder
        self._texts = RememberedTexts(encode_texts, policy.remembered_prompts)
        self._policy = policy

    async def embed(self, texts: Sequence[str], param: str) -> Vector:
        """Unit vectors [len(texts), dimension] in order. ``param`` names the texts in the request.

        Raises:
            ApiError: 400: too many texts, or one that is too long for the model.
        """
        return await asyncio.to_thread(self._embed, texts, param)

    async def compiled(self, label_set: LabelSet, param: str) -> CompiledLabelSet:
        """A label set of a request.

        Raises:
            ApiError: 400: the model cannot use the label set.
        """
        return await asyncio.to_thread(self._compiled, label_set, param)

    def _embed(self, texts: Sequence[str], param: str) -> Vector:
        self._check(texts, param)
        return self._texts(texts)

    def _compiled(self, label_set: LabelSet, param: str) -> CompiledLabelSet:
        texts = [text for label in label_set.labels for text in (*label.prompts, *label.contrast)]
        self._check(texts, param)
        try:
            (compiled,) = compile_label_sets([label_set], self._texts, self._encoder.model)
        except Halt as invalid:
            raise ApiError(400, invalid.code, invalid.message, param=param) from invalid
        return compiled

    def _check(self, texts: Sequence[str], param: str) -> None:
        most = self._policy.max_prompts
        if len(texts) > most:
            raise ApiError(
                400,
                "too_many_prompts",
                f"{len(texts)} prompts, more than {most}; send fewer",
                param=param,
            )
        prompts = self._encoder.prompts
        for text, ids in zip(texts, prompts.tokenize(list(texts)), strict=True):
            if len(ids) > prompts.max_tokens:
                raise ApiError(
                    400,
                    "prompt_too_long",
                    f"{text[:80]!r} has {len(ids)} tokens, more than the model's "
                    f"{prompts.max_tokens}; shorten it",
                    param=param,
                )
