"""Where the model's square lies, in the two ways that CLIP libraries cut it."""

from __future__ import annotations

import pytest

from pipeline.decode.crop import Crop


@pytest.mark.parametrize(
    ("size", "transformers", "openai"),
    [
        # Resized to 224 the long edge is 271, 272, 227, 225, 229, 231: margins of 47, 48, 3, ...
        ((500, 413), (23, 0), (24, 0)),
        ((413, 500), (0, 23), (0, 24)),
        ((500, 411), (24, 0), (24, 0)),
        ((227, 224), (1, 0), (2, 0)),
        ((225, 224), (0, 0), (0, 0)),
        ((224, 229), (0, 2), (0, 2)),
        ((231, 224), (3, 0), (4, 0)),
        ((224, 224), (0, 0), (0, 0)),
    ],
)
def test_openai_rounds_the_offset_that_transformers_cuts(
    size: tuple[int, int], transformers: tuple[int, int], openai: tuple[int, int]
) -> None:
    assert Crop.of(*size, 224, 224) == Crop.of(*size, 224, 224, "transformers")
    ours = Crop.of(*size, 224, 224, "transformers")
    theirs = Crop.of(*size, 224, 224, "openai")
    assert ((ours.left, ours.top), (theirs.left, theirs.top)) == (transformers, openai)
    assert ours.cropped_share == theirs.cropped_share


def test_a_square_smaller_than_the_resized_image_is_rounded_both_ways() -> None:
    crop = Crop.of(500, 413, 259, 224, "openai")  # resized to 313 x 259
    assert (crop.left, crop.top) == (44, 18)
    assert (Crop.of(500, 413, 259, 224).left, Crop.of(500, 413, 259, 224).top) == (44, 17)
