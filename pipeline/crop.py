"""The part of an image that a model looks at. Standard library only: the decoder's child, which
must stay small, computes with it too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Crop:
    """Where the model's square lies in an original of ``width`` x ``height`` pixels.

    The original would be resized to ``resized_width`` x ``resized_height``, and the square of
    ``edge`` pixels cut out of that at ``left``, ``top``. Resampling ``box`` to the square gives
    the same without holding the resized whole, which bounds the work for extreme shapes: an image
    of 1 x 60,000 would be resized to 224 x 13,440,000.
    """

    width: int
    height: int
    resized_width: int
    resized_height: int
    left: int
    top: int
    edge: int

    @classmethod
    def of(cls, width: int, height: int, resize: int, crop: int) -> Crop:
        """Shortest edge resized to ``resize``, then a centred square of ``crop`` pixels.

        Rounding is that of the transformers image processors (``get_resize_output_image_size``
        and ``center_crop``): the long edge is rounded down, and so are the square's offsets.

        Raises:
            ValueError: the square is larger than the resized image, or a length is below 1.
        """
        if min(width, height, crop) < 1 or crop > resize:
            raise ValueError(
                f"crop: {width}x{height} resized to {resize} and cropped to {crop} pixels is "
                "impossible; lengths are at least 1 and the crop fits the resized image"
            )
        long_edge = int(resize * max(width, height) / min(width, height))
        resized_width, resized_height = (
            (resize, long_edge) if width <= height else (long_edge, resize)
        )
        return cls(
            width=width,
            height=height,
            resized_width=resized_width,
            resized_height=resized_height,
            left=(resized_width - crop) // 2,
            top=(resized_height - crop) // 2,
            edge=crop,
        )

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The square in the original: left, top, right, bottom in its pixels, with fractions."""
        return (
            self.left * self.width / self.resized_width,
            self.top * self.height / self.resized_height,
            (self.left + self.edge) * self.width / self.resized_width,
            (self.top + self.edge) * self.height / self.resized_height,
        )

    @property
    def cropped_share(self) -> float:
        """Share of the original's area outside the square, 0 to 1."""
        return 1 - self.edge**2 / (self.resized_width * self.resized_height)
