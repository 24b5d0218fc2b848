"""Brings Pillow's images of every mode to upright 8-bit RGB or grey, without transparency.

Runs in a decoder's child only.
"""

from __future__ import annotations

from typing import cast

from PIL import ExifTags, Image

from pipeline.adapters.decode_wire import Refused, Verdict

BACKGROUND = (255, 255, 255)
"""What shines through transparency, as in the transformers processors and most viewers."""

_SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How to turn an image upright, by its EXIF orientation."""


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or the EXIF block is broken."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - a broken EXIF block is no reason to refuse the pixels
        return 1
    return orientation if orientation in range(1, 9) else 1


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Turn upright; before resampling, whose order of the axes shows (see ``Resampler``)."""
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Bring deeper greys to mode ``L``.

    16 bits have a known range, 0 to 65,535, and are divided by 257. 32-bit integers and floats
    have none: they are stretched from their least to their greatest value.
    """
    if image.mode in _SIXTEEN_BIT_MODES:
        scale, offset = 1 / 257, 0.5
    elif image.mode in ("I", "F"):
        low, high = cast("tuple[float, float]", image.getextrema())
        if not abs(high - low) < float("inf"):  # not a number included
            raise Refused(Verdict.CORRUPT, f"shades from {low} to {high}")
        scale = 255 / (high - low) if high > low else 0.0
        offset = 0.5 - low * scale
    else:
        return image
    wide = image if image.mode == "F" else image.convert("I")
    grey = wide.point(lambda shade: shade * scale + offset).convert("L")
    # A transparent shade is named in the deep range; nothing of it is left to match.
    grey.info.pop("transparency", None)
    return grey


def flatten(image: Image.Image) -> Image.Image:
    """Bring 8-bit modes to ``RGB`` or ``L`` (which is resized at a third of the cost), with
    transparency over ``BACKGROUND``."""
    if image.has_transparency_data and not _has_deep_colour_key(image):
        if image.mode == "La":  # Pillow converts it to LA only
            image = image.convert("LA")
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            flat = Image.new("RGB", image.size, BACKGROUND)
            flat.paste(image, mask=alpha)
            return flat
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == mode else image.convert(mode)  # which copies even an equal mode


def _has_deep_colour_key(image: Image.Image) -> bool:
    """Whether a transparent colour is named in 16 bits a channel, in a PNG that Pillow reads in
    8: it matches no pixel."""
    key = image.info.get("transparency")
    return isinstance(key, tuple) and max(key) > 255
