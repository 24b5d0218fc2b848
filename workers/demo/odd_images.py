"""Objects that any bucket of uploads holds sooner or later: broken, hostile, or merely rare."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from workers.demo.shapes import DemoImage, coverage, encoded, fill_colour, shape_image

_SIDE_PX = (240, 480)
_BOMB_SIDE_PX = 60_000
_HTML = b"<!doctype html>\n<html><body><h1>503 Service Unavailable</h1></body></html>\n"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_RGB = 2
_PNG_GREY = 0
_EXIF_ORIENTATION = 0x0112
_EXIF_TURN_CLOCKWISE = 6  # the viewer must turn the stored pixels by 90 degrees to the right


def odd_images(seed: int) -> Iterator[DemoImage]:
    """Make one object of each kind: five that no pipeline can classify, and five that it must."""
    rng = np.random.default_rng(seed)

    def drawn(label: str) -> Image.Image:
        return shape_image(rng, label, _SIDE_PX)

    def broken(name: str, body: bytes, code: str, note: str) -> DemoImage:
        return DemoImage(f"odd/{name}", body, None, note, code)

    jpeg = encoded(drawn("orange star"), "JPEG", rng)
    yield broken("truncated.jpg", jpeg[: len(jpeg) // 2], "decode.truncated", "half of a JPEG file")
    yield broken(
        "error-page.jpg", _HTML, "decode.unsupported_format", "an HTML page named as a JPEG"
    )
    yield broken("bomb.png", pixel_bomb(), "decode.too_large", "a small file of 3,600 megapixels")
    yield broken("empty.png", b"", "fetch.empty", "an object without bytes")
    yield broken(
        "damaged.png",
        _damaged(encoded(drawn("purple cross"), "PNG", rng)),
        "decode.corrupt",
        "a PNG file with flipped bits",
    )

    frames = [shape_image(rng, "red ring", (240, 240)) for _ in range(4)]
    yield DemoImage("odd/animated.gif", _animated(frames), "red ring", "an animated GIF")
    yield DemoImage(
        "odd/16-bit.png", _png_16_bit(drawn("green triangle")), "green triangle", "a 16-bit PNG"
    )
    with io.BytesIO() as file:
        drawn("blue square").convert("CMYK").save(file, "JPEG", quality=90)
        yield DemoImage("odd/cmyk.jpg", file.getvalue(), "blue square", "a CMYK JPEG")
    yield DemoImage(
        "odd/turned.jpg", _turned(drawn("purple star")), "purple star", "a JPEG turned by EXIF"
    )
    yield DemoImage(
        "odd/transparent.png",
        _transparent(rng, "red", "cross"),
        "red cross",
        "a palette PNG with a transparent background",
    )


def pixel_bomb() -> bytes:
    """A PNG file of some hundred bytes that announces 60,000 by 60,000 pixels."""
    return _png(_BOMB_SIDE_PX, _BOMB_SIDE_PX, 8, _PNG_GREY, bytes(_BOMB_SIDE_PX))


def _png(width: int, height: int, bit_depth: int, colour_type: int, scanlines: bytes) -> bytes:
    """Assemble a PNG file; Pillow writes neither false headers nor 16-bit RGB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    return (
        _PNG_SIGNATURE
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(scanlines))
        + chunk(b"IEND", b"")
    )


def _png_16_bit(image: Image.Image) -> bytes:
    samples = np.asarray(image).astype(">u2") * 257  # 255 becomes 65,535
    rows = samples.reshape(image.height, -1).view(np.uint8)
    unfiltered = np.pad(rows, ((0, 0), (1, 0)))  # each scanline begins with its filter type, 0
    return _png(image.width, image.height, 16, _PNG_RGB, unfiltered.tobytes())


def _damaged(png: bytes) -> bytes:
    """Flip every bit in the middle of the compressed pixels; header and length stay right."""
    start = len(png) // 2
    flipped = bytes(byte ^ 0xFF for byte in png[start : start + 64])
    return png[:start] + flipped + png[start + 64 :]


def _animated(frames: list[Image.Image]) -> bytes:
    with io.BytesIO() as file:
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=200, loop=0)
        return file.getvalue()


def _turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = _EXIF_TURN_CLOCKWISE
    with io.BytesIO() as file:
        image.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", quality=90, exif=exif)
        return file.getvalue()


def _transparent(rng: np.random.Generator, colour: str, shape: str) -> bytes:
    side = _SIDE_PX[0]
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    mask = coverage(rng, shape, image.size, centre=(side / 2, side / 2), radius=side * 0.4)
    image.paste(fill_colour(rng, colour), mask=mask)
    with io.BytesIO() as file:
        image.quantize(colors=16, method=Image.Quantize.FASTOCTREE).save(file, "PNG")
        return file.getvalue()
