"""The part of an image that a model sees. Standard library only, because the decoder's child, which
must stay small, uses it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Centring = Literal["transformers", "openai"]
"""How the square's offset is rounded when the margin is odd: ``transformers`` rounds it down,
``openai`` to the nearest even number."""


@dataclass(frozen=True, slots=True)
class Crop:
    """Where the model's square lies in an original of ``width`` x ``height`` pixels.

    The original would be resized to ``resized_width`` x ``resized_height``, and the square of
    ``edge`` pixels would be cut out of that at ``left``, ``top``. Resampling ``box`` to the square
    gives the same result without the resized whole. This bounds the work for extreme shapes: an
    image of 1 x 60,000 would be resized to 224 x 13,440,000.
    """

    width: int
    height: int
    resized_width: int
    resized_height: int
    left: int
    top: int
    edge: int

    @classmethod
    def of(
        cls,
        width: int,
        height: int,
        resize: int,
        crop: int,
        centring: Centring = "transformers",
    ) -> Crop:
        """The shortest edge is resized to ``resize``, then a centred square of ``crop`` pixels is
        cut.

        The long edge is rounded down, as in ``get_resize_output_image_size`` of transformers and in
        ``Resize`` of torchvision, which openai/CLIP and open_clip use. The square's offsets are
        those of ``center_crop`` of transformers, ``margin // 2``, or of torchvision,
        ``int(round(margin / 2.0))``. The two differ if the margin is 3, 7, 11, ... pixels.

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
        across, down = resized_width - crop, resized_height - crop
        rounds = centring == "openai"
        return cls(
            width=width,
            height=height,
            resized_width=resized_width,
            resized_height=resized_height,
            left=round(across / 2) if rounds else across // 2,
            top=round(down / 2) if rounds else down // 2,
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


def fitted(width: int, height: int, edge: int) -> tuple[int, int]:
    """The size of a whole picture whose longest edge has at most ``edge`` pixels. Small pictures
    are not enlarged."""
    scale = min(1.0, edge / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
