"""An encoder that tells how long its current call has taken: a device can hang for good."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.ports import Clock, Encoder
from pipeline.records import ImageGeometry, ModelIdentity, Pixels, Vector


class WatchedEncoder:
    """Implements ``Encoder`` over another. ``call_age_s`` may be asked from any thread."""

    def __init__(self, encoder: Encoder, clock: Clock) -> None:
        self._encoder = encoder
        self._clock = clock
        self._called_at: float | None = None

    @property
    def model(self) -> ModelIdentity:
        return self._encoder.model

    @property
    def geometry(self) -> ImageGeometry:
        return self._encoder.geometry

    def call_age_s(self) -> float:
        """Seconds since the device was given the batch that it has now; 0 without one."""
        called_at = self._called_at
        return 0.0 if called_at is None else self._clock.monotonic() - called_at

    def encode_images(self, pixels: Pixels) -> Vector:
        return self._watched(lambda: self._encoder.encode_images(pixels))

    def encode_texts(self, prompts: Sequence[str]) -> Vector:
        """Watched as a batch is: while a worker runs, prompts come in such small numbers. A first
        start may embed thousands in one call, but nobody asks for its age before it has ended."""
        return self._watched(lambda: self._encoder.encode_texts(prompts))

    def _watched(self, call: Callable[[], Vector]) -> Vector:
        self._called_at = self._clock.monotonic()
        try:
            return call()
        finally:
            self._called_at = None
