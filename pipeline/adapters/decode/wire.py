"""The messages between a decoder's parent and child.

Frames over a stream socket, big-endian, lengths first. The child is not trusted: every answer is
checked here before anything else uses it. No outside library.
"""

from __future__ import annotations

import json
import math
import signal
import struct
from dataclasses import asdict, dataclass
from enum import IntEnum

from pipeline.decode.codings import CODINGS, MAX_CODINGS
from pipeline.decode.crop import Centring, fitted
from pipeline.decode.signatures import FORMATS
from pipeline.decode.views import CENTRE, Viewing

WHOLE = 0
"""In place of the edge of a square: the whole image."""


class Verdict(IntEnum):
    """The result for an image in a child that goes on. The names are those of reject codes."""

    DECODED = 0
    UNSUPPORTED_FORMAT = 1
    TOO_LARGE = 2
    TRUNCATED = 3
    CORRUPT = 4
    ANIMATION = 5
    UNSUPPORTED_VARIANT = 6


_VERDICTS = frozenset(int(verdict) for verdict in Verdict)


class Refused(Exception):
    """The image is not decoded. ``detail`` says why, for people.

    If the file's format is not supported, ``format`` is the format that was recognised, one of
    ``pipeline.decode.signatures.FORMATS``.
    """

    def __init__(self, verdict: Verdict, detail: str, format: str | None = None) -> None:
        super().__init__(verdict, detail)
        self.verdict = verdict
        self.detail = detail
        self.format = format


class ProtocolViolation(Exception):
    """The child's answer makes no sense: end it."""


@dataclass(frozen=True, slots=True)
class ChildConfig:
    """What a child is told once, on its command line. No secrets, because anyone may read it
    there."""

    formats: tuple[str, ...]
    max_file_bytes: int
    max_pixels: int
    reject_animations: bool
    fast: bool
    centring: Centring
    max_views: int
    max_unseen: float
    memory_bytes: int
    image_memory_bytes: int
    image_cpu_s: float
    lifetime_cpu_s: int
    parent_pid: int
    pdq: bool = False

    @property
    def viewing(self) -> Viewing:
        return Viewing(self.max_views, self.max_unseen)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ChildConfig:
        fields = json.loads(text)
        return cls(**fields | {"formats": tuple(fields["formats"])})


EXIT_OUT_OF_MEMORY = 77
"""Exit status of a child that could not allocate memory, and so could not answer either."""

_READY = struct.Struct("!?")
_REQUEST = struct.Struct(f"!III{MAX_CODINGS}B")
_REPLY = struct.Struct("!BBIIIIB32s")

READY_BYTES = _READY.size  # 1 byte, so it arrives in one piece
REQUEST_BYTES = _REQUEST.size
REPLY_BYTES = _REPLY.size

_UNHASHED = 255
"""In place of the quality: there is no PDQ hash."""

MAX_DETAIL_BYTES = 1_000
"""Longest text of a reject, in UTF-8 bytes."""


def pack_ready(*, filtered: bool) -> bytes:
    """The child's first message. ``filtered`` says whether the kernel filters its system calls."""
    return _READY.pack(filtered)


def unpack_ready(frame: bytes) -> bool:
    (filtered,) = _READY.unpack(frame)
    return bool(filtered)


@dataclass(frozen=True, slots=True)
class Request:
    """One image to decode. ``body_bytes`` bytes follow, to which ``codings`` (of
    ``pipeline.decode.codings``) were applied in turn. Edges as in ``ImageGeometry``, in pixels; a
    ``crop`` of 0 asks for the whole image, whose longest edge has at most ``resize`` pixels."""

    body_bytes: int
    resize: int
    crop: int
    codings: tuple[str, ...] = ()

    def pack(self) -> bytes:
        numbers = [1 + CODINGS.index(coding) for coding in self.codings]
        numbers += [0] * (MAX_CODINGS - len(numbers))
        return _REQUEST.pack(self.body_bytes, self.resize, self.crop, *numbers)

    @classmethod
    def unpack(cls, frame: bytes) -> Request:
        body_bytes, resize, crop, *numbers = _REQUEST.unpack(frame)
        codings = tuple(CODINGS[number - 1] for number in numbers if number)
        return cls(body_bytes, resize, crop, codings)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. ``payload_bytes`` bytes follow: the RGB pixels of one view after the other for
    ``DECODED``, else UTF-8 text.

    ``format_index`` points into the configured formats; for ``UNSUPPORTED_FORMAT`` it points into
    ``pipeline.decode.signatures.FORMATS``. ``width`` and ``height`` are the original's, upright.
    ``frames`` counts the file's frames or pages. ``pdq`` are the bytes and the quality of the whole
    picture's PDQ hash, or None. Fields without a meaning are 0.
    """

    verdict: Verdict
    payload_bytes: int
    format_index: int = 0
    width: int = 0
    height: int = 0
    frames: int = 0
    pdq: tuple[bytes, int] | None = None

    def pack(self) -> bytes:
        bits, quality = (b"", _UNHASHED) if self.pdq is None else self.pdq
        return _REPLY.pack(
            self.verdict,
            self.format_index,
            self.width,
            self.height,
            self.frames,
            self.payload_bytes,
            quality,
            bits,
        )

    @classmethod
    def unpack(
        cls, frame: bytes, *, formats: int, resize: int, crop: int, viewing: Viewing = CENTRE
    ) -> Reply:
        """Parse and check an answer. ``resize`` and ``crop`` are those of the request.

        Raises:
            ProtocolViolation: an unknown verdict or format, a payload of the wrong size, or
                lengths that no image has.
        """
        verdict, format_index, width, height, frames, payload_bytes, *hashed = _REPLY.unpack(frame)
        quality, bits = hashed
        if verdict == Verdict.DECODED:
            sound = (
                format_index < formats
                and min(width, height, frames) >= 1
                and (quality <= 100 or quality == _UNHASHED)
                and _are_views(payload_bytes, width, height, frames, resize, crop, viewing)
            )
        else:
            named = len(FORMATS) if verdict == Verdict.UNSUPPORTED_FORMAT else 1
            sound = (
                verdict in _VERDICTS and format_index < named and payload_bytes <= MAX_DETAIL_BYTES
            )
        if not sound:
            raise ProtocolViolation
        pdq = None if quality == _UNHASHED else (bits, quality)
        return cls(Verdict(verdict), payload_bytes, format_index, width, height, frames, pdq)


def seen_size(width: int, height: int, resize: int, crop: int) -> tuple[int, int]:
    """Width and height of the pixels that are sent for an original of ``width`` x ``height``."""
    return (crop, crop) if crop else fitted(width, height, resize)


def _are_views(
    payload_bytes: int,
    width: int,
    height: int,
    frames: int,
    resize: int,
    crop: int,
    viewing: Viewing,
) -> bool:
    """Whether so many bytes are the views of the first frame, and perhaps of some that follow."""
    pixels = 3 * math.prod(seen_size(width, height, resize, crop))
    if crop == WHOLE:
        return payload_bytes == pixels
    squares = len(viewing.squares(width, height, resize, crop, "transformers"))
    of_frames, rest = divmod(payload_bytes, squares * pixels)
    return rest == 0 and 1 <= of_frames <= len(viewing.frames(frames, squares))


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """How a decoder process ended while it held an image.

    ``code`` is the image's reject code. A ``final`` end was caused by the image. Any other end may
    have come from outside or from earlier images, and is worth one more try in a fresh process.
    """

    code: str
    final: bool
    cause: str

    @classmethod
    def of(cls, returncode: int) -> ChildEnd:
        """Read a ``subprocess.Popen.returncode``: negative numbers are signals."""
        if returncode == EXIT_OUT_OF_MEMORY:
            return cls("decode.out_of_memory", final=True, cause="memory limit reached")
        if returncode in (-signal.SIGPROF, -signal.SIGXCPU):
            return cls("decode.timeout", final=True, cause="CPU time used up")
        if returncode == -signal.SIGKILL:
            # Not killed by us, because the pool never asks about those. Most often the kernel's OOM
            # killer.
            return cls("decode.out_of_memory", final=False, cause="killed from outside")
        if returncode < 0:
            try:
                name = signal.Signals(-returncode).name
            except ValueError:  # a real-time signal
                name = f"signal {-returncode}"
            return cls("decode.crashed", final=False, cause=name)
        return cls("decode.crashed", final=False, cause=f"exit status {returncode}")
