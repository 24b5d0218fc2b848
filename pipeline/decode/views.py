"""The parts of a file that a model looks at. Standard library only, like ``crop``.

A *view* is a square of one frame. The first view of every file is the centred square of its first
frame. ``Viewing`` says how many more there are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.decode.crop import Centring, Crop

ANIMATED = frozenset({"GIF", "WEBP", "PNG", "AVIF"})
"""Formats whose frames are all of one size, and of which more than the first frame is looked at."""


@dataclass(frozen=True, slots=True)
class Viewing:
    """``most`` is the largest number of views of one file; 1 is the centred square alone. Up to
    ``max_unseen`` of a frame's longer side may lie outside its views."""

    most: int = 1
    max_unseen: float = 0.0

    def squares(
        self, width: int, height: int, resize: int, crop: int, centring: Centring
    ) -> tuple[Crop, ...]:
        """The views of each frame of ``width`` x ``height`` pixels: the centred square, then the
        others along the longer side from its start to its end.

        Their number is odd, so that the squares are evenly spaced around the centred one.

        Raises:
            ValueError: as ``Crop.of``.
        """
        centre = Crop.of(width, height, resize, crop, centring)
        length = max(centre.resized_width, centre.resized_height)
        count = 1
        while count + 2 <= self.most and length - count * crop > self.max_unseen * length:
            count += 2
        side = "left" if centre.resized_width >= centre.resized_height else "top"
        step = (length - crop) / max(1, count - 1)
        places = (place for place in range(count) if place != count // 2)
        return (centre, *(replace(centre, **{side: round(place * step)}) for place in places))

    def frames(self, frames: int, squares: int) -> tuple[int, ...]:
        """Which frames are looked at, from 0, if each has so many views. Evenly spaced from the
        first to the last."""
        count = min(frames, max(1, self.most // squares))
        return tuple(place * (frames - 1) // max(1, count - 1) for place in range(count))


CENTRE = Viewing()


def unseen_share(squares: tuple[Crop, ...]) -> float:
    """Share of a frame's area outside all its views, 0 to 1."""
    one = squares[0]
    starts = sorted({square.left + square.top for square in squares})
    ends = [*starts[1:], starts[-1] + one.edge]
    seen = sum(min(one.edge, end - start) for start, end in zip(starts, ends, strict=True))
    return 1 - seen * one.edge / (one.resized_width * one.resized_height)
