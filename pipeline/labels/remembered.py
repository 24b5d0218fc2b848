"""Keeps embeddings of prompts in memory, for label sets that come with requests over HTTP.

Label sets that are files have their embeddings on disk (``pipeline.adapters.clip.text_cache``).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from pipeline.labels.scoring import EncodeTexts
from pipeline.records import Vector


class RememberedTexts:
    """An ``EncodeTexts`` that embeds only prompts that it has not embedded recently.

    It keeps the ``most`` prompts that were used last. Each takes 2 KiB at 512 dimensions, plus the
    prompt itself. Several threads may call it. A prompt that two threads ask for at the same time
    may be embedded twice.
    """

    def __init__(self, encode: EncodeTexts, most: int) -> None:
        self._encode = encode
        self._most = most
        self._known: OrderedDict[str, Vector] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, prompts: Sequence[str]) -> Vector:
        """Embed prompts; returns [len(prompts), dimension] in order.

        Raises:
            Halt: what the encoder raises.
        """
        with self._lock:
            found = {prompt: self._known[prompt] for prompt in prompts if prompt in self._known}
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in found]
        if missing or not prompts:
            embedded = self._encode(missing)
            if not prompts:
                return embedded
            # Copies: a view would keep the embeddings of all that were embedded with it.
            found |= zip(missing, (row.copy() for row in embedded), strict=True)
        with self._lock:
            for prompt in prompts:
                self._known[prompt] = found[prompt]
                self._known.move_to_end(prompt)
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return np.stack([found[prompt] for prompt in prompts])
