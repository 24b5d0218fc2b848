"""Brings Pillow's images of every mode to upright 8-bit RGB or grey, without transparency.

Runs in a decoder's child only.
"""

from __future__ import annotations

from typing import cast

from PIL import ExifTags, Image, ImageChops, ImageMath

from pipeline.adapters.decode.image_files import DeepGrey
from pipeline.adapters.decode.wire import Refused, Verdict

BACKGROUND = (255, 255, 255)
"""The colour behind transparency, as in the transformers processors and most viewers."""

_SIGN = -(2**31)

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
    """EXIF orientation, 1 to 8. 1 if there is none or the EXIF block is broken."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - a broken EXIF block is no reason to refuse the pixels
        return 1
    return orientation if orientation in range(1, 9) else 1


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Turn upright. Done before resampling, because the order of the axes shows there (see
    ``Resampler``)."""
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def to_eight_bits(image: Image.Image, meaning: DeepGrey | None = None) -> Image.Image:
    """Convert deeper greys to mode ``L``.

    Up to 16 bits have a known range, 0 to 65,535 for 16, and are divided to 255. 32-bit integers
    and floats have no known range, so their smallest to largest values are stretched to it.
    ``meaning`` is what the file says in addition to the mode.
    """
    if image.mode in _SIXTEEN_BIT_MODES:
        most = (1 << (meaning.bits if meaning else 16)) - 1
        wide, scale, offset = image.convert("I"), 255 / most, 0.5
    elif image.mode in ("I", "F"):
        wide = image
        if image.mode == "I" and meaning is not None and meaning.unsigned:
            # Unsigned numbers that were read as signed keep their order with the sign bit flipped.
            wide = ImageMath.lambda_eval(lambda bands: bands["image"] ^ _SIGN, image=image)
        low, high = cast("tuple[float, float]", wide.getextrema())
        if not abs(high - low) < float("inf"):  # also false for NaN
            raise Refused(Verdict.CORRUPT, f"shades from {low} to {high}")
        scale = 255 / (high - low) if high > low else 0.0
        offset = 0.5 - low * scale
    else:
        return image
    grey = wide.point(lambda shade: shade * scale + offset).convert("L")
    # A transparent shade is named in the deep range, which no longer matches anything.
    grey.info.pop("transparency", None)
    return ImageChops.invert(grey) if meaning and meaning.zero_is_white else grey


def uncover(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Leave ``BACKGROUND`` outside the box. A first frame that does not cover the canvas shows
    nothing there."""
    ground = Image.new("RGB", image.size, BACKGROUND)
    ground.paste(image.crop(box), box[:2])
    return ground


def without_blank_alpha(image: Image.Image) -> Image.Image:
    """Drop an alpha channel that is 0 everywhere: its writer left the bytes empty."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        return image.convert("RGB")
    return image


def flatten(image: Image.Image) -> Image.Image:
    """Convert 8-bit modes to ``RGB`` or ``L`` (resizing ``L`` costs a third), with transparency
    over ``BACKGROUND``."""
    if image.has_transparency_data and not _has_deep_colour_key(image):
        if image.mode == "La":  # Pillow converts it to LA only
            image = image.convert("LA")
        if image.mode != "RGBA":
            image = image.convert("RGBA")
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            flat = Image.new("RGB", image.size, BACKGROUND)
            flat.paste(image, mask=alpha)
            return flat
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == mode else image.convert(mode)  # which copies even an equal mode


def _has_deep_colour_key(image: Image.Image) -> bool:
    """Whether a PNG that Pillow reads in 8 bits names a transparent colour in 16 bits a channel.
    Such a colour matches no pixel."""
    key = image.info.get("transparency")
    return isinstance(key, tuple) and max(key) > 255
