"""An encoder that reports how long its current call has taken, because a device can hang for
ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from pipeline.ports import Clock, Encoder, PromptTokens
from pipeline.records import ImageGeometry, ModelIdentity, Pixels, Vector


class WatchedEncoder:
    """Implements ``Encoder`` on top of another encoder. ``call_age_s`` may be asked from any
    thread."""

    def __init__(self, encoder: Encoder, clock: Clock) -> None:
        self._encoder = encoder
        self._clock = clock
        self._called_at: dict[int, float] = {}  # by thread

    @property
    def lanes(self) -> int:
        return self._encoder.lanes

    @property
    def parallel(self) -> int:
        return self._encoder.parallel

    @property
    def largest(self) -> int:
        return self._encoder.largest

    @property
    def model(self) -> ModelIdentity:
        return self._encoder.model

    @property
    def geometry(self) -> ImageGeometry:
        return self._encoder.geometry

    @property
    def prompts(self) -> PromptTokens:
        return self._encoder.prompts

    def call_age_s(self) -> float:
        """Seconds since the device received the oldest batch that it has now; 0 without one."""
        oldest = min(self._called_at.copy().values(), default=None)
        return 0.0 if oldest is None else self._clock.monotonic() - oldest

    def encode_images(self, pixels: Pixels) -> Vector:
        return self._watched(lambda: self._encoder.encode_images(pixels))

    def encode_texts(self, prompts: Sequence[str]) -> Vector:
        """Watched like a batch: the batcher embeds prompts in chunks, and none takes longer than a
        batch may."""
        return self._watched(lambda: self._encoder.encode_texts(prompts))

    def _watched(self, call: Callable[[], Vector]) -> Vector:
        thread = threading.get_ident()
        self._called_at[thread] = self._clock.monotonic()
        try:
            return call()
        finally:
            del self._called_at[thread]
