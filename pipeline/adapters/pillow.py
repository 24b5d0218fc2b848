"""Decodes images with Pillow. Runs in a decoder's child only: the parent never loads Pillow.

docs/decoding.md says what is done to each kind of image, and why.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass

# Pillow would load some of these when it first needs them; by then the child is confined and can
# open no file.
from PIL import (
    AvifImagePlugin,
    Image,
    ImageCms,
    ImageMode,
    ImagePalette,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from pipeline.adapters.decode_wire import Refused, Verdict
from pipeline.adapters.eight_bits import flatten, orientation_of, to_eight_bits, turn
from pipeline.adapters.image_files.gif import count_gif_frames
from pipeline.adapters.resampler import Resampler
from pipeline.crop import Centring, Crop

_PRELOADED = (ImageCms, ImageMode, ImagePalette, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin)

MAX_PAGES_COUNTED = 1_000
"""Pages of a TIFF that are counted; each costs its own directory, which may be huge."""

_FAST_OVERSAMPLING = 2
"""Pixels of a JPEG that `fast` decodes for one of the model's, at least and each way: with fewer,
the embedding moves (by 0.0007 of the centred cosine at 1)."""

_JPEG_BEGINS = b"\xff\xd8"
_SCAN_BEGINS = 0xDA
"""The second byte of the marker that a JPEG's image data follow."""

_ON_THE_SIDE = frozenset({5, 6, 7, 8})
"""EXIF orientations that exchange width and height."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """RGB bytes, row by row, of the model's square, and facts of the original, turned upright."""

    pixels: bytes
    format: str
    width: int
    height: int
    frames: int


class PillowDecoder:
    """Sets Pillow up for hostile input, process-wide; build it once."""

    def __init__(
        self,
        *,
        formats: tuple[str, ...],
        max_pixels: int,
        reject_animations: bool,
        fast: bool = False,
        centring: Centring = "transformers",
    ) -> None:
        self._formats = formats
        self._max_pixels = max_pixels
        self._reject_animations = reject_animations
        self._fast = fast
        self._centring = centring
        self._resampler = Resampler()
        # Pillow refuses beyond twice this number and only warns below. Half the cap makes the cap
        # the point of refusal everywhere, also where a plugin checks before it allocates.
        Image.MAX_IMAGE_PIXELS = max_pixels // 2
        warnings.simplefilter("ignore")
        # The cap of 1 MiB on compressed chunks refuses sound files (a large ICC profile or a
        # workflow in an iTXt chunk); the total's cap and the memory limit bound them as well.
        PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the child may not start threads
        self._samples = {name: _sample(name) for name in formats}

    def decode(self, body: bytes, resize: int, crop: int) -> Decoded:
        """Decode to a square of ``crop`` pixels out of the image resized to ``resize``.

        Raises:
            Refused: whatever is wrong with the image.
            MemoryError: it does not fit the memory limit.
        """
        try:
            return self._decode(body, resize, crop)
        except (Refused, MemoryError):
            raise
        except Image.DecompressionBombError as error:
            raise Refused(Verdict.TOO_LARGE, self._too_large(str(error))) from error
        except UnidentifiedImageError as error:
            raise self._unidentified(body) from error
        # The border to the decoders: hostile bytes make them raise anything.
        except Exception as error:
            verdict = Verdict.TRUNCATED if _ends_early(body, error) else Verdict.CORRUPT
            raise Refused(verdict, f"{type(error).__name__}: {error}") from error

    def _decode(self, body: bytes, resize: int, crop: int) -> Decoded:
        with Image.open(io.BytesIO(body), formats=self._formats) as image:
            # A JPEG with further pictures (a gain map, a depth map, the other eye) is a still.
            name = "JPEG" if image.format == "MPO" else str(image.format)
            frames = 1 if name == "JPEG" else _count_frames(image, body)
            if frames > 1 and self._reject_animations:
                raise Refused(
                    Verdict.ANIMATION,
                    f"{name} of {frames} frames or pages, and decode.animations is `reject`",
                )
            full = image.size
            # Fed in pieces, libjpeg decodes the row of blocks anew that a piece ends in.
            image.decodermaxblock = len(body)
            reduction = _draft(image, resize) if self._fast and name == "JPEG" else 1
            image.load()
            orientation = orientation_of(image)
            upright = turn(flatten(to_eight_bits(image)), orientation)
        width, height = upright.size
        if reduction > 1:
            width, height = full if orientation not in _ON_THE_SIDE else full[::-1]
        box = Crop.of(width, height, resize, crop, self._centring)
        square = self._square(upright, box, name, reduction)
        return Decoded(
            pixels=square.convert("RGB").tobytes(),
            format=name,
            width=width,
            height=height,
            frames=frames,
        )

    def _square(self, upright: Image.Image, crop: Crop, name: str, reduction: int) -> Image.Image:
        if self._fast:
            return self._resampler.quickly(upright, crop, reduction)
        if name == "JPEG":  # photographs, with noise
            return self._resampler.close_to_the_reference(upright, crop)
        return self._resampler.like_the_reference(upright, crop)

    def _too_large(self, pillow_says: str) -> str:
        pixels = re.search(r"\((\d+) pixels\)", pillow_says)
        announced = f"{int(pixels[1]) / 1e6:.1f}" if pixels else "more"
        return (
            f"{announced} megapixels announced against decode.max_megapixels = "
            f"{self._max_pixels / 1e6:g}; raise it, and decode.max_memory_mib with it, if such "
            "images are legitimate"
        )

    def _unidentified(self, body: bytes) -> Refused:
        for name in self._formats:
            accepts = Image.OPEN[name][1]
            if accepts is not None and accepts(body[:16]) is True:
                if name == "JPEG" and _ends_before_the_scan(body):
                    return Refused(Verdict.TRUNCATED, "JPEG that ends in its header")
                return Refused(Verdict.CORRUPT, f"{name} whose header cannot be read")
        return Refused(
            Verdict.UNSUPPORTED_FORMAT,
            f"none of {', '.join(self._formats)}; see decode.formats",
        )

    def self_test(self) -> None:
        """Decode a sample of each format, which also loads what Pillow loads late.

        Raises:
            RuntimeError: naming a format that this Pillow, in this process, cannot decode, or
                saying that it does not go with the installed resizer.
        """
        for name, sample in self._samples.items():
            try:
                self.decode(sample, resize=8, crop=8)
            except (Refused, MemoryError) as error:
                raise RuntimeError(f"decode.formats: {name} cannot be decoded here") from error
        self._resampler.self_test()


def _sample(format: str) -> bytes:
    """A small image as a file."""
    file = io.BytesIO()
    try:
        Image.linear_gradient("L").resize((16, 16)).convert("RGB").save(file, format)
    except (KeyError, OSError) as error:
        raise RuntimeError(f"decode.formats: this Pillow was built without {format}") from error
    return file.getvalue()


def _ends_early(body: bytes, error: Exception) -> bool:
    if body[:4] == b"RIFF":  # libwebp does not say why it refuses
        return len(body) < 8 + int.from_bytes(body[4:8], "little")
    if body[:2] == _JPEG_BEGINS and _ends_before_the_scan(body):
        return True  # between two segments Pillow does not say why either
    return "truncated" in str(error).lower()


def _ends_before_the_scan(body: bytes) -> bool:
    """Whether a JPEG's segments are whole as far as they go, and stop before the image's data."""
    at = len(_JPEG_BEGINS)
    while at + 4 <= len(body):
        if body[at] != 0xFF or body[at + 1] == _SCAN_BEGINS:
            return False
        at += 2 + int.from_bytes(body[at + 2 : at + 4], "big")
    return True


def _count_frames(image: Image.Image, body: bytes) -> int:
    """Frames or pages of a file, in bounded time whatever the file says."""
    if image.format == "GIF":
        return count_gif_frames(body)
    if image.format == "TIFF":
        return _count_pages(body)
    return max(1, int(getattr(image, "n_frames", 1)))  # from the header


def _count_pages(body: bytes) -> int:
    """Pages of a TIFF, up to a bound or to the first whose directory cannot be read."""
    with Image.open(io.BytesIO(body), formats=("TIFF",)) as image:
        for page in range(1, MAX_PAGES_COUNTED):
            try:
                image.seek(page)
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001 - the end, or a page that no reader shows
                return page
    return MAX_PAGES_COUNTED


def _draft(image: Image.Image, resize: int) -> int:
    """Have a JPEG decoded at a half, a quarter or an eighth of its size, by leaving out the high
    frequencies of its blocks, where twice the model's resolution remains. Returns the divisor."""
    edge, width = _FAST_OVERSAMPLING * resize, image.width
    drafted = image.draft(None, (edge, edge))
    return 1 if drafted is None else round(width / drafted[1][2])
