"""Decodes images with Pillow. Runs only in a decoder's child: the parent never loads Pillow.

docs/decoding.md says how each kind of image is treated, and why.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

# Pillow would load some of these when it first needs them. By then the child is confined and cannot
# open files.
from PIL import (
    AvifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    ImageMode,
    ImagePalette,
    TiffImagePlugin,
    WebPImagePlugin,
)

from pipeline.adapters.decode import heif
from pipeline.adapters.decode.animation import further_frames
from pipeline.adapters.decode.eight_bits import (
    flatten,
    orientation_of,
    to_eight_bits,
    turn,
    uncover,
    without_blank_alpha,
)
from pipeline.adapters.decode.image_files import IMAGE_FILES, Essentials, jpeg, png
from pipeline.adapters.decode.pdq import PdqHasher
from pipeline.adapters.decode.resampler import Resampler
from pipeline.adapters.decode.wire import WHOLE, Refused, Verdict
from pipeline.decode.crop import Centring, Crop, fitted
from pipeline.decode.good_images import GOOD_IMAGES
from pipeline.decode.signatures import advice, recognise
from pipeline.decode.views import ANIMATED, CENTRE, Viewing

_PRELOADED = (ImageCms, ImageMode, ImagePalette, WebPImagePlugin)

_OUT_OF_MEMORY = (ImageFile._get_oserror(-9, encoder=False).args, ("decoder error -9",))
"""Errors of Pillow's own decoders when there is no memory."""

_NATIVE_ORDER = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}

_UNLIKELY = 0xA5

_FAST_OVERSAMPLING = 2
"""Fewest pixels of a JPEG, each way, that `fast` decodes for one pixel of the model. With fewer
pixels the embedding moves (by 0.0007 of the centred cosine at 1)."""

_ON_THE_SIDE = frozenset({5, 6, 7, 8})
"""EXIF orientations that exchange width and height."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """RGB bytes of each view, one after the other, or of the whole, row by row; and facts about the
    original, turned upright.

    Views are those of ``Viewing``, frame by frame. They end before a frame that cannot be decoded:
    only the first frame must be. ``pdq`` is the PDQ hash of the whole first frame and its quality,
    if it is wanted.
    """

    pixels: bytes
    format: str
    width: int
    height: int
    frames: int
    pdq: tuple[bytes, int] | None = None


@dataclass(frozen=True, slots=True)
class _Frame:
    """The first frame, upright: RGB bytes of its views at ``squares``, or of the whole. ``size`` is
    that of the file, which is turned by ``orientation``."""

    pixels: list[bytes]
    width: int
    height: int
    frames: int
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    squares: tuple[Crop, ...] = ()
    pdq: tuple[bytes, int] | None = None


class PillowDecoder:
    """Sets Pillow up for hostile input, for the whole process. Build it once."""

    def __init__(
        self,
        *,
        formats: tuple[str, ...],
        max_pixels: int,
        reject_animations: bool,
        fast: bool = False,
        centring: Centring = "transformers",
        viewing: Viewing = CENTRE,
        pdq: PdqHasher | None = None,
    ) -> None:
        self._pdq = pdq
        self._formats = formats
        self._max_pixels = max_pixels
        self._reject_animations = reject_animations
        self._fast = fast
        self._centring = centring
        self._viewing = viewing
        self._resampler = Resampler()
        # Pillow refuses beyond twice this number and only warns below. With half of the cap here,
        # Pillow refuses at the cap, also when a plugin checks before it allocates. `_decode` checks
        # again, to the pixel.
        Image.MAX_IMAGE_PIXELS = (max_pixels + 1) // 2
        warnings.simplefilter("ignore")
        # Pillow's own reader of uncompressed TIFFs handles neither planes of 16 bits nor subsampled
        # colours.
        TiffImagePlugin.READ_LIBTIFF = True
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the child may not start threads
        if "HEIF" in formats:
            heif.register()
        self._samples = {name: _sample(name) for name in formats}

    def decode(self, body: bytes, resize: int, crop: int) -> Decoded:
        """Decode to a square of ``crop`` pixels out of the image resized to ``resize``; with a
        ``crop`` of 0 to the whole image, whose longest edge has at most ``resize`` pixels.

        Raises:
            Refused: the image cannot be decoded.
            MemoryError: the image does not fit the memory limit.
        """
        name = self._format_of(body)
        file = IMAGE_FILES[name]
        opened = False
        try:
            parts = file.essentials(body)
            with Image.open(io.BytesIO(parts.body), formats=(name,)) as image:
                opened = True
                first = self._first_frame(image, name, parts, resize, crop)
            del image  # and its pixels: further frames take as much again
            return Decoded(
                pixels=b"".join([*first.pixels, *self._further_frames(first, name, parts)]),
                format=name,
                width=first.width,
                height=first.height,
                frames=first.frames,
                pdq=first.pdq,
            )
        except (Refused, MemoryError):
            raise
        except Image.DecompressionBombError as error:
            raise Refused(Verdict.TOO_LARGE, self._too_large(str(error))) from error
        # The border to the decoders: hostile bytes make them raise any exception.
        except Exception as error:
            if error.args in _OUT_OF_MEMORY or (name == "HEIF" and heif.out_of_memory(error)):
                raise MemoryError from error
            refused = file.fault(body, opened=opened)
            detail = f"{refused.detail} ({type(error).__name__}: {error})"
            raise Refused(refused.verdict, detail) from error

    def _first_frame(
        self, image: ImageFile.ImageFile, name: str, parts: Essentials, resize: int, crop: int
    ) -> _Frame:
        full = image.size
        if full[0] * full[1] > self._max_pixels:
            raise Refused(Verdict.TOO_LARGE, self._too_large(f"({full[0] * full[1]} pixels)"))
        frames = parts.frames or max(1, int(getattr(image, "n_frames", 1)))
        if frames > 1 and self._reject_animations:
            raise Refused(
                Verdict.ANIMATION,
                f"{name} of {frames} frames or pages, and decode.animations is `reject`",
            )
        covered = None if parts.covers else image.tile[0].extents
        if parts.exif:
            image.info["exif"] = parts.exif
        if parts.xmp:
            image.info["xmp"] = parts.xmp
        if name == "TIFF":
            image.tile = [_in_native_order(tile) for tile in image.tile]
        # libjpeg, fed in pieces, would decode the row of blocks at the end of a piece again.
        image.decodermaxblock = len(parts.body)
        # A picture for people is no input of a model: how it was scaled down does not matter.
        scales = (self._fast or crop == WHOLE) and name == "JPEG" and jpeg.scales(parts.body)
        reduction = _draft(image, resize) if scales else 1
        if name == "PNG":
            _load_whole_png(image, parts.body)
        else:
            image.load()
        orientation = orientation_of(image)
        plain = without_blank_alpha(image) if name == "BMP" else image
        flat = flatten(to_eight_bits(plain, parts.grey))
        upright = turn(flat if covered is None else uncover(flat, covered), orientation)
        width, height = upright.size
        if reduction > 1:
            width, height = full if orientation not in _ON_THE_SIDE else full[::-1]
        if crop == WHOLE:
            whole = upright.resize(
                fitted(width, height, resize), Image.Resampling.BICUBIC, reducing_gap=2.0
            )
            return _Frame([_rgb(whole)], width, height, frames)
        squares = self._viewing.squares(width, height, resize, crop, self._centring)
        pixels = self._views(upright, squares, name, reduction)
        pdq = None if self._pdq is None else self._pdq(upright)
        return _Frame(pixels, width, height, frames, full, orientation, squares, pdq)

    def _further_frames(self, first: _Frame, name: str, parts: Essentials) -> list[bytes]:
        """The pixels of the views of further frames."""
        if not first.squares or name not in ANIMATED:
            return []

        def see(frame: Image.Image) -> list[bytes]:
            return self._views(turn(frame, first.orientation), first.squares, name)

        body = parts.body if parts.animation is None else parts.animation
        wanted = self._viewing.frames(first.frames, len(first.squares))[1:]
        return further_frames(body, name, first.size, wanted, see)

    def _format_of(self, body: bytes) -> str:
        name = recognise(body)
        if name in self._formats:
            return name
        raise Refused(Verdict.UNSUPPORTED_FORMAT, advice(name, self._formats), name)

    def _views(
        self, upright: Image.Image, squares: Sequence[Crop], name: str, reduction: int = 1
    ) -> list[bytes]:
        if self._fast:
            seen = [self._resampler.quickly(upright, square, reduction) for square in squares]
        elif name == "JPEG":  # photographs, with noise
            seen = self._resampler.close_to_the_reference(upright, *squares)
        else:
            seen = self._resampler.like_the_reference(upright, *squares)
        return [_rgb(square) for square in seen]

    def _too_large(self, pillow_says: str) -> str:
        pixels = re.search(r"\((\d+) pixels\)", pillow_says)
        announced = f"{int(pixels[1]) / 1e6:.1f}" if pixels else "more"
        return (
            f"{announced} megapixels announced against decode.max_megapixels = "
            f"{self._max_pixels / 1e6:g}; raise it, and decode.max_memory_mib with it, if such "
            "images are legitimate"
        )

    def self_test(self) -> None:
        """Decode a sample of each format. This also loads what Pillow loads late.

        Raises:
            RuntimeError: this Pillow, in this process, cannot decode a format, which the message
                names; or Pillow does not work with the installed resizer.
        """
        for name, sample in self._samples.items():
            try:
                self.decode(sample, resize=8, crop=8)
            except (Refused, MemoryError) as error:
                raise RuntimeError(
                    f"decode.formats: {name} cannot be decoded here; take it out of the list, or "
                    "install a Pillow that can"
                ) from error
        self._resampler.self_test()


def _rgb(image: Image.Image) -> bytes:
    return image.convert("RGB").tobytes()


def _sample(format: str) -> bytes:
    """A small image as a file."""
    if format == "HEIF":  # the libraries that read it cannot write it
        return GOOD_IMAGES["HEIF"]
    file = io.BytesIO()
    try:
        Image.linear_gradient("L").resize((16, 16)).convert("RGB").save(file, format)
    except (KeyError, OSError) as error:
        raise RuntimeError(
            f"decode.formats: this Pillow was built without {format}; take it out of the list, or "
            "install a Pillow that has it"
        ) from error
    return file.getvalue()


def _load_whole_png(image: ImageFile.ImageFile, body: bytes) -> None:
    """Decode a PNG onto a canvas that is filled with an unlikely colour, because Pillow does not
    report that pixels of some rows were missing.

    Raises:
        Refused: pixels were missing.
    """
    bands = len(image.getbands())
    colour = _UNLIKELY if bands == 1 else (_UNLIKELY,) * bands
    last = (image.width - 1, image.height - 1)
    canvas = Image.new(image.mode, image.size, colour)
    unwritten = canvas.getpixel(last)
    image.im = canvas.im
    image.load()
    suspicious = "interlace" in image.info or image.getpixel(last) == unwritten
    if suspicious and not png.is_whole(body):
        raise Refused(Verdict.CORRUPT, "PNG with pixels for a part of its rows")


def _in_native_order(tile: ImageFile._Tile) -> ImageFile._Tile:
    """libtiff delivers samples in this processor's byte order. Pillow does not know that for some
    modes."""
    if not isinstance(tile.args, tuple) or tile.args[0] not in _NATIVE_ORDER:
        return tile
    return tile._replace(args=(_NATIVE_ORDER[tile.args[0]], *tile.args[1:]))


def _draft(image: Image.Image, resize: int) -> int:
    """Let libjpeg decode a JPEG at a half, a quarter or an eighth of its size, by leaving out the
    high frequencies of its blocks, if twice the model's resolution remains. Returns the divisor."""
    edge, width = _FAST_OVERSAMPLING * resize, image.width
    drafted = image.draft(None, (edge, edge))
    return 1 if drafted is None else round(width / drafted[1][2])
