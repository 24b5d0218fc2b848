"""Resamples the model's square out of an image. Runs only in a decoder's child.

There are two resamplers. Pillow's own equals the reference, bit by bit, and takes longer than
decoding the JPEG. The resizer of ``cykooz_resizer`` computes the same sum of the same pixels with
weights of 16 bits, as Pillow-SIMD and torch do, in about a fifth of the time. docs/decoding.md says
where it is used, and how much it differs.
"""

from __future__ import annotations

import math
from typing import Any

from PIL import Image, ImageChops

from pipeline.decode.crop import Crop

try:
    import cykooz_resizer
except ImportError:  # no wheels for this platform: Pillow does all
    cykooz_resizer = None

_BICUBIC = Image.Resampling.BICUBIC
_BICUBIC_REACH = 2.0
"""Pixels to either side that the filter reads, at scale 1."""

_AVERAGING_SCALE = 1.65
"""Pixels of the original for one of the model's, from which on no single row has the weight 1."""

_TALL = (1.9, 2.1)
"""Ratios of height to width near 2, with a margin for rounding."""

_MAX_WHOLE_PIXELS = 4_000_000
"""Largest image that is resized as a whole: an aspect ratio of 80 for a model of 224 pixels."""


class Resampler:
    """Bicubic, antialiased, in 8 bits: modes ``RGB`` and ``L``.

    Not thread-safe, because the resizer keeps a buffer.
    """

    def __init__(self) -> None:
        self._resizer: Any = None if cykooz_resizer is None else cykooz_resizer.Resizer()

    def like_the_reference(self, image: Image.Image, *crops: Crop) -> list[Image.Image]:
        """The squares of an upright image at these crops, which differ in their place alone. Equal
        to the reference: the whole image is resized and then cut. Long strips are cut first,
        because the resized whole would be unbounded."""
        whole_edges = (crops[0].resized_width, crops[0].resized_height)
        if math.prod(whole_edges) > _MAX_WHOLE_PIXELS:
            return [self._cut_with_pillow(image, crop.box, crop.edge) for crop in crops]
        whole = image.resize(whole_edges, _BICUBIC)
        return [
            whole.crop((crop.left, crop.top, crop.left + crop.edge, crop.top + crop.edge))
            for crop in crops
        ]

    def close_to_the_reference(self, image: Image.Image, *crops: Crop) -> list[Image.Image]:
        """``quickly`` if that is within 1 of 255 of the reference, else ``like_the_reference``.

        Both passes round. Values that the first pass rounds differently are averaged by the second
        pass, so the result is within 1. Two cases are excluded. If a row has the weight 1, two
        differing values would meet in one pixel. Near a height of twice the width, Pillow changes
        the order of the passes. In pictures without noise, up to 2 values in 100,000 differ by 2:
        if rows are alike, the first pass rounds all of them alike, and the second pass has negative
        weights, so its positive weights add up to 1.08. More than 2 is impossible.
        """
        _, top, _, bottom = crops[0].box
        averages = bottom - top >= _AVERAGING_SCALE * crops[0].edge
        order_is_certain = not _TALL[0] < image.height / image.width < _TALL[1]
        if averages and order_is_certain:
            return [self.quickly(image, crop) for crop in crops]
        return self.like_the_reference(image, *crops)

    def quickly(self, image: Image.Image, crop: Crop, reduction: int = 1) -> Image.Image:
        """The crop's square, in the reference's order of passes. Nothing outside the square is
        resampled.

        The order is across, then down. It is down first if the image becomes smaller and is taller
        than twice its width (Pillow #9549). The wrong order would differ by up to 30 of 255,
        because both passes clip.

        Each pixel of ``image`` stands for ``reduction`` pixels of the crop's original, both ways.
        """
        left, top, right, bottom = (edge / reduction for edge in crop.box)
        if self._resizer is None:
            return self._cut_with_pillow(image, (left, top, right, bottom), crop.edge)
        if _down_first(image, top, bottom, crop.edge):  # the resizer's own order
            return self._resize(image, crop.edge, crop.edge, (left, top, right, bottom))
        first, last = _rows(image, top, bottom, crop.edge)
        across = self._resize(image, crop.edge, last - first, (left, first, right, last))
        return self._resize(
            across, crop.edge, crop.edge, (0, top - first, crop.edge, bottom - first)
        )

    def self_test(self) -> None:
        """Check that the resizer agrees with Pillow.

        The resizer reads Pillow's images directly from memory. A Pillow with another memory layout
        would make its results wrong, or end the process.

        Raises:
            RuntimeError: they do not agree.
        """
        ramp = Image.linear_gradient("L").resize((48, 40))
        picture = Image.merge("RGB", (ramp, ramp.transpose(Image.Transpose.ROTATE_180), ramp))
        for image in (picture, ramp):
            crop = Crop.of(image.width, image.height, 16, 16)
            (reference,) = self.like_the_reference(image, crop)
            apart = ImageChops.difference(self.quickly(image, crop), reference)
            if max(apart.tobytes()) > 1:
                raise RuntimeError(
                    "cykooz-resizer does not agree with this Pillow; install the versions in "
                    "constraints.txt"
                )

    def _resize(
        self,
        image: Image.Image,
        width: int,
        height: int,
        box: tuple[float, float, float, float],
    ) -> Image.Image:
        left, top, right, bottom = box
        options = cykooz_resizer.ResizeOptions(
            resize_alg=_CATMULL_ROM,
            crop_box=cykooz_resizer.CropBox(left, top, right - left, bottom - top),
        )
        resized = Image.new(image.mode, (width, height))
        self._resizer.resize_pil(image, resized, options)
        return resized

    def _cut_with_pillow(
        self, image: Image.Image, box: tuple[float, float, float, float], edge: int
    ) -> Image.Image:
        left, top, right, bottom = box
        if _down_first(image, top, bottom, edge):
            down = image.resize((image.width, edge), _BICUBIC, (0, top, image.width, bottom))
            return down.resize((edge, edge), _BICUBIC, (left, 0, right, edge))
        first, last = _rows(image, top, bottom, edge)
        if last - first < image.height:
            image = image.crop((0, first, image.width, last))
        across = image.resize((edge, image.height), _BICUBIC, (left, 0, right, image.height))
        return across.resize((edge, edge), _BICUBIC, (0, top - first, edge, bottom - first))


_CATMULL_ROM = (
    None  # Keys' cubic of a = -0.5: what Pillow calls bicubic
    if cykooz_resizer is None
    else cykooz_resizer.ResizeAlg.convolution(cykooz_resizer.FilterType.catmull_rom)
)


def _down_first(image: Image.Image, top: float, bottom: float, edge: int) -> bool:
    """Whether Pillow, resizing the whole image, would go down before it goes across."""
    return bottom - top > edge and image.height > 2 * image.width


def _rows(image: Image.Image, top: float, bottom: float, edge: int) -> tuple[int, int]:
    """The rows that the filter reads for ``edge`` rows between ``top`` and ``bottom``. No other
    rows are read."""
    reach = _BICUBIC_REACH * max(1.0, (bottom - top) / edge) + 1
    return max(0, math.floor(top - reach)), min(image.height, math.ceil(bottom + reach))
