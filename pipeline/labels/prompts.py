"""Finds prompts of a label set that the model's text encoder cannot use as the author means them.

The encoder reads tokens. Prompts with equal tokens have equal embeddings. Labels with equal prompts
therefore get equal scores, whatever the image shows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence

from pipeline.complaints import Problem, quoted
from pipeline.labels.label_set import LabelSet
from pipeline.ports import PromptTokens


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
