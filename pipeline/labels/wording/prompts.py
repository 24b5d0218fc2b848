"""Finds prompts of a label set that the model's text encoder cannot use as the author means them.

The encoder reads tokens. Prompts with equal tokens have equal embeddings. Labels with equal prompts
therefore get equal scores, whatever the image shows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.complaints import Problem, quoted
from pipeline.labels.label_set import Label, LabelSet
from pipeline.ports import PromptTokens
from pipeline.records import Vector

NEARLY_SAME = 0.98
"""Cosine of two prompts above which a model hardly tells them apart."""


def prompt_problems(label_set: LabelSet, tokens: PromptTokens | None = None) -> Iterator[Problem]:
    """Find labels that the encoder cannot tell apart, labels that it cannot tell from their
    contrast, and prompts with too many tokens.

    Without ``tokens``, only prompts with equal text count as equal. A head has no prompts.
    """
    if label_set.head is not None:
        return
    prompts = tuple(
        dict.fromkeys(
            prompt for label in label_set.labels for prompt in (*label.prompts, *label.contrast)
        )
    )
    identities: Mapping[str, Hashable] = {prompt: prompt for prompt in prompts}
    if tokens is not None:
        ids = dict(zip(prompts, map(tuple, tokens.tokenize(prompts)), strict=True))
        yield from _too_long(label_set, ids, tokens.max_tokens)
        identities = ids
    first: dict[Hashable, str] = {}
    for index, label in enumerate(label_set.labels):
        own, contrast = _mixture(label.prompts, identities), _mixture(label.contrast, identities)
        if own == contrast:
            yield Problem(
                ("labels", index),
                "its prompts and its contrast are the same to the model, so its score would always "
                "be 0.5; write prompts that differ from the contrast",
            )
        # Independent labels with the same prompts differ if their contrasts differ.
        other = first.setdefault((own, contrast), label.name)
        if other != label.name:
            yield Problem(
                ("labels", index),
                f"the model cannot tell it from {quoted(other)}, because it reads the prompts of "
                "both labels alike; write prompts that differ, or remove one of the labels",
            )


def _too_long(
    label_set: LabelSet, ids: Mapping[str, Sequence[int]], max_tokens: int
) -> Iterator[Problem]:
    told: set[str] = set()
    for index, label in enumerate(label_set.labels):
        for prompt in (*label.prompts, *label.contrast):
            if len(ids[prompt]) > max_tokens and prompt not in told:
                told.add(prompt)
                yield Problem(
                    ("labels", index),
                    f"the prompt {quoted(prompt)} has {len(ids[prompt])} tokens, more than the "
                    f"model's {max_tokens}; shorten it: a cut prompt would mean something else",
                )


def _mixture(prompts: Sequence[str], identities: Mapping[str, Hashable]) -> Hashable:
    """What the mean of the prompts' embeddings consists of: each prompt and its share."""
    counts = Counter(identities[prompt] for prompt in prompts)
    common = math.gcd(*counts.values())
    return frozenset((identity, count // common) for identity, count in counts.items())


@dataclass(frozen=True, slots=True)
class Alike:
    """Two labels with prompts that are nearly the same to the model, and the nearest of them.
    ``other`` is None for the label's own contrast."""

    label: str
    other: str | None
    prompts: tuple[str, str]
    cosine: float

    def __str__(self) -> str:
        other = "its contrast" if self.other is None else quoted(self.other)
        one, two = map(quoted, self.prompts)
        return (
            f"{quoted(self.label)} and {other} are nearly the same to the model: {one} and {two} "
            f"have a cosine of {self.cosine:.3f}; write prompts that differ more, or make one "
            "label of two"
        )


def alike_labels(
    label_set: LabelSet, encode_texts: Callable[[Sequence[str]], Vector]
) -> Iterator[Alike]:
    """Find labels that have a prompt nearly the same as one of another label, or of their own
    contrast. ``encode_texts`` returns unit vectors [prompts, dimension]. A head has no prompts."""
    if label_set.head is not None:
        return
    labels = label_set.labels
    texts = (each for label in labels for each in (*label.prompts, *label.contrast))
    prompts = tuple(dict.fromkeys(texts))
    vectors = dict(zip(prompts, encode_texts(prompts), strict=True))
    every = np.stack([vectors[each] for label in labels for each in label.prompts])
    starts = np.cumsum([0, *(len(label.prompts) for label in labels[:-1])])
    for place, label in enumerate(labels):
        own = np.stack([vectors[each] for each in label.prompts])
        nearest = np.maximum.reduceat((own @ every.T).max(axis=0), starts)
        for other in np.flatnonzero(nearest >= NEARLY_SAME).tolist():
            if other > place:
                yield _alike(label, labels[other].name, labels[other].prompts, vectors)
        if label.contrast:
            found = _alike(label, None, label.contrast, vectors)
            if found.cosine >= NEARLY_SAME:
                yield found


def _alike(
    label: Label, other: str | None, others: Sequence[str], vectors: Mapping[str, Vector]
) -> Alike:
    """The two prompts that are nearest."""
    one, two = (np.stack([vectors[each] for each in texts]) for texts in (label.prompts, others))
    cosines = one @ two.T
    row, column = divmod(int(cosines.argmax()), len(others))
    nearest = (label.prompts[row], others[column])
    return Alike(label.name, other, nearest, float(cosines[row, column]))
