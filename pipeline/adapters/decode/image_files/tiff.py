"""TIFF (revision 6.0) and BigTIFF: the first directory's tags, and how many directories follow."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pipeline.adapters.decode.image_files.essentials import DeepGrey, Essentials
from pipeline.adapters.decode.wire import Refused, Verdict

MAX_PAGES_COUNTED = 1_000
"""Most pages that are counted. The file gives their order, and each page costs a read."""

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 256, 257, 258, 259, 262, 277
_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES = 273, 279, 324, 325
_PLANAR, _SAMPLE_FORMAT, _XMP, _JPEG_XR = 284, 339, 700, 0xBC01

_KEPT = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _STRIPS, _STRIP_BYTES}
    | {_TILES, _TILE_BYTES, _PLANAR, _SAMPLE_FORMAT, 322, 323}
    # Order of bits, orientation, rows of a strip, options of fax codings, predictor, palette, inks,
    # meaning of further samples; then JPEG's tables, and how YCbCr is sampled.
    | {266, 274, 278, 292, 293, 317, 320, 332, 338, 347, *range(512, 522), 529, 530, 531, 532}
)

_MOST_NUMBERS = 1_000_000

_KINDS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "Q", 6: "b", 7: "B", 8: "h", 9: "i"} | {
    10: "q",
    11: "f",
    12: "d",
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}
"""Types of values in ``struct``'s letters. Values of types 5 and 10 are two numbers each."""
_SHORT = 3

_UNSIGNED, _SIGNED = 1, 2
_ZERO_IS_WHITE, _ZERO_IS_BLACK = 0, 1
_RGB, _PALETTE, _LAB = 2, 3, 8
_WHOLE_ONLY = frozenset({_ZERO_IS_WHITE, _ZERO_IS_BLACK, _PALETTE, _LAB})
"""Photometric interpretations that Pillow misreads if a pixel's samples stand in planes."""

_EXTRA_SAMPLES, _ALPHA = 338, 2

_DECODED = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32_773, 32_946})
"""Compressions of the libtiff in Pillow's wheels."""
_COMPRESSIONS = (
    _DECODED
    | {9, 10, 32_766, 32_771, 32_809, *range(32_895, 32_899), 32_908, 32_909, 34_661, 34_676}
    | {34_677, 34_712, 34_887, 34_892, 34_925, 34_926, *range(50_000, 50_003), 52_546}
)
_PHOTOMETRICS = frozenset({*range(7), 8, 9, 10, 32_803, 32_844, 32_845, 34_892, 52_527})


def essentials(body: bytes) -> Essentials:
    """Give the decoder one directory with the tags that pixels need.

    Pillow reads only some kinds of numbers. A kind that differs from these only in its meaning is
    declared as one that Pillow reads, and the meaning is returned separately.
    """
    layout = _Layout.of(body)
    page = layout.directory(body, layout.first) if layout else None
    if layout is None or page is None or not {_WIDTH, _HEIGHT} <= page.entries.keys():
        return Essentials(body)
    if _JPEG_XR in page.entries:
        raise Refused(Verdict.UNSUPPORTED_VARIANT, "TIFF of JPEG XR")
    kept = {tag: entry for tag, entry in page.entries.items() if tag in _KEPT}
    grey = None
    (bits, *_), samples = page.numbers(_BITS) or (1,), page.number(_SAMPLES, 1)
    signed = page.number(_SAMPLE_FORMAT, _UNSIGNED)
    photometric = page.number(_PHOTOMETRIC, _ZERO_IS_WHITE)
    if samples > 1 and page.number(_PLANAR, 1) != 1 and photometric in _WHOLE_ONLY:
        raise Refused(Verdict.UNSUPPORTED_VARIANT, f"TIFF of photometric {photometric} in planes")
    if samples == 4 and photometric == _RGB and _EXTRA_SAMPLES not in kept:
        kept[_EXTRA_SAMPLES] = layout.short(
            _ALPHA
        )  # as Pillow reads it when samples are not in planes
    if samples == 1:
        kept.pop(_PLANAR, None)  # one sample needs no planes
        if bits > 8:
            white = photometric == _ZERO_IS_WHITE
            grey = DeepGrey(bits, unsigned=signed == _UNSIGNED, zero_is_white=white)
            if white:
                kept[_PHOTOMETRIC] = layout.short(_ZERO_IS_BLACK)
            if bits == 32 and grey.unsigned:
                kept[_SAMPLE_FORMAT] = layout.short(_SIGNED)
        elif signed != _UNSIGNED:
            raise Refused(Verdict.UNSUPPORTED_VARIANT, "TIFF of signed samples of 8 bits")
    return Essentials(
        layout.with_directory(body, kept),
        xmp=page.value(_XMP),
        frames=_pages(body, layout),
        grey=grey,
    )


def fault(body: bytes, *, opened: bool) -> Refused:
    layout = _Layout.of(body)
    page = layout.directory(body, layout.first) if layout else None
    if layout is None or page is None or not page.whole:
        if layout is None or layout.first < len(body):
            return Refused(Verdict.CORRUPT, "TIFF whose directory cannot be read")
        return Refused(Verdict.TRUNCATED, "TIFF that ends before its directory")
    starts = page.numbers(_STRIPS) or page.numbers(_TILES)
    sizes = page.numbers(_STRIP_BYTES) or page.numbers(_TILE_BYTES)
    if any(start + size > len(body) for start, size in zip(starts, sizes, strict=False)):
        return Refused(Verdict.TRUNCATED, "TIFF that ends before its pixels do")
    compression = page.number(_COMPRESSION, 1)
    if _is_sensible(page) and (not opened or compression not in _DECODED):
        return Refused(
            Verdict.UNSUPPORTED_VARIANT,
            f"TIFF of compression {compression}, photometric {page.number(_PHOTOMETRIC, 0)}, "
            f"{page.number(_SAMPLES, 1)} samples of {page.number(_BITS, 1)} bits in format "
            f"{page.number(_SAMPLE_FORMAT, 1)}, planar {page.number(_PLANAR, 1)}",
        )
    return Refused(Verdict.CORRUPT, "TIFF whose pixels cannot be decoded")


def _is_sensible(page: _Directory) -> bool:
    """Whether each tag that says how pixels are stored makes sense."""
    return (
        min(page.number(_WIDTH, 0), page.number(_HEIGHT, 0)) > 0
        and page.number(_COMPRESSION, 1) in _COMPRESSIONS
        and page.number(_PHOTOMETRIC, 0) in _PHOTOMETRICS
        and 1 <= page.number(_SAMPLES, 1) <= 65_535
        and 1 <= min(page.numbers(_BITS) or (1,)) <= max(page.numbers(_BITS) or (1,)) <= 64
        and page.number(_SAMPLE_FORMAT, 1) in range(1, 7)
        and page.number(_PLANAR, 1) in (1, 2)
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: int
    count: int
    field: bytes
    """The value, or the place of the value."""


@dataclass(frozen=True, slots=True)
class _Directory:
    """A directory of tags. The first of several entries of a tag counts."""

    body: bytes
    layout: _Layout
    entries: dict[int, _Entry]
    whole: bool

    def value(self, tag: int) -> bytes:
        """Empty if the tag is absent or broken."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _KINDS:
            return b""
        size = entry.count * struct.calcsize("=" + _KINDS[entry.kind])
        if size <= len(entry.field):
            return entry.field[:size]
        at = self.layout.pointer(entry.field)
        return self.body[at : at + size] if at + size <= len(self.body) else b""

    def numbers(self, tag: int) -> tuple[int, ...]:
        """At most the first million, because a hostile file can repeat one number without end."""
        value = self.value(tag)
        if not value:
            return ()
        letter = _KINDS[self.entries[tag].kind]
        count = min(_MOST_NUMBERS, len(value) // struct.calcsize("=" + letter))
        numbers = struct.unpack_from(f"{self.layout.order}{count}{letter}", value)
        return tuple(number for number in numbers if isinstance(number, int))

    def number(self, tag: int, default: int) -> int:
        numbers = self.numbers(tag)
        return numbers[0] if numbers else default


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a file writes its numbers, and where its first directory is."""

    order: str
    big: bool
    first: int

    @classmethod
    def of(cls, body: bytes) -> _Layout | None:
        order = {b"II": "<", b"MM": ">"}.get(body[:2])
        if order is None or len(body) < 16:
            return None
        # Some writers use the other byte order here. Pillow decides by the third byte too.
        big = 43 in (body[2], body[3])
        (first,) = struct.unpack_from(order + ("Q" if big else "I"), body, 8 if big else 4)
        return cls(order, big, first)

    def pointer(self, field: bytes) -> int:
        (at,) = struct.unpack(self.order + ("Q" if self.big else "I"), field)
        return int(at)

    def short(self, value: int) -> _Entry:
        field = struct.pack(self.order + "H", value)
        return _Entry(_SHORT, 1, field.ljust(8 if self.big else 4, b"\0"))

    def directory(self, body: bytes, at: int) -> _Directory | None:
        """None if there is no room for one."""
        head, entry, _ = self._structs()
        if not 0 < at <= len(body) - head.size:
            return None
        (count,) = head.unpack_from(body, at)
        first = at + head.size
        there = min(count, (len(body) - first) // entry.size)
        entries: dict[int, _Entry] = {}
        for number in range(there):
            tag, kind, values, field = entry.unpack_from(body, first + number * entry.size)
            entries.setdefault(tag, _Entry(kind, values, field))
        return _Directory(body, self, entries, whole=there == count)

    def following(self, body: bytes, at: int) -> int | None:
        """The place of the next directory; 0 for none. None if this directory is incomplete."""
        head, entry, pointer = self._structs()
        if not 0 < at <= len(body) - head.size:
            return None
        (count,) = head.unpack_from(body, at)
        end = at + head.size + count * entry.size
        if end > len(body):
            return None
        return self.pointer(body[end : end + pointer.size].ljust(pointer.size, b"\0"))

    def with_directory(self, body: bytes, entries: dict[int, _Entry]) -> bytes:
        """The file with only this directory, after everything else."""
        head, entry, pointer = self._structs()
        at = len(body) + (len(body) & 1)
        start = 8 if self.big else 4
        return b"".join(
            [
                body[:start],
                pointer.pack(at),
                memoryview(body)[start + pointer.size :],
                bytes(at - len(body)),
                head.pack(len(entries)),
                *(
                    entry.pack(tag, each.kind, each.count, each.field)
                    for tag, each in sorted(entries.items())
                ),
                pointer.pack(0),
            ]
        )

    def _structs(self) -> tuple[struct.Struct, struct.Struct, struct.Struct]:
        letters = ("Q", "HHQ8s", "Q") if self.big else ("H", "HHI4s", "I")
        head, entry, pointer = (struct.Struct(self.order + each) for each in letters)
        return head, entry, pointer


def _pages(body: bytes, layout: _Layout) -> int:
    """Directories, up to a bound, until one cannot be read or was seen before."""
    seen: set[int] = set()
    at: int | None = layout.first
    while at and at not in seen and len(seen) < MAX_PAGES_COUNTED:
        following = layout.following(body, at)
        if following is not None:
            seen.add(at)
        at = following
    return max(1, len(seen))
