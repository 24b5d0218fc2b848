"""Recognises a file by its first bytes: the image formats, and other files that arrive instead.

Standard library only, because the decoder's child, which must stay small, uses it too. ``FORMATS``
is a closed set: its names are metric labels and stand in dead letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

UNKNOWN = "unknown"
TEXT = "text"

_HEAD_BYTES = 4_096
"""Bytes that are searched. An XML declaration or a comment may stand before ``<svg``."""

_IMAGE = "convert it to one of them before upload"
_DOCUMENT = "it is a program or a document and never read; draw it to one of them before upload"
_FILM = "Clipstream looks at pictures; send pictures out of it"
_ARCHIVE = "unpack it before upload"
_CODED = "upload it unpacked, or name the coding in the object's Content-Encoding"
_PAGE = "look at the uploader: it stored a page or an error message in the image's place"


@dataclass(frozen=True, slots=True)
class _Kind:
    """A format: the bytes that its files have at ``offset``, and what to do with such a file."""

    name: str
    advice: str
    heads: tuple[bytes, ...] = ()
    offset: int = 0


_DECODED = "JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF", "HEIF"

_KINDS = (
    _Kind("JPEG", "", (b"\xff\xd8\xff",)),
    _Kind("PNG", "", (b"\x89PNG\r\n\x1a\n",)),
    _Kind("GIF", "", (b"GIF87a", b"GIF89a")),
    _Kind("BMP", "", (b"BM",)),
    _Kind("TIFF", "", (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"II+\0", b"MM\0+")),
    _Kind("JPEG XL", _IMAGE, (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")),
    _Kind("JPEG 2000", _IMAGE, (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    _Kind("JPEG XR", _IMAGE, (b"II\xbc\x01",)),
    _Kind("PSD", _IMAGE, (b"8BPS",)),
    _Kind("ICO", _IMAGE, (b"\0\0\1\0", b"\0\0\2\0")),
    _Kind("PNM", _IMAGE, tuple(b"P%d%c" % (n, end) for n in range(1, 8) for end in b" \t\r\n")),
    _Kind("QOI", _IMAGE, (b"qoif",)),
    _Kind("DDS", _IMAGE, (b"DDS ",)),
    _Kind("OpenEXR", _IMAGE, (b"v/1\x01",)),
    _Kind("Radiance HDR", _IMAGE, (b"#?RADIANCE", b"#?RGBE")),
    _Kind("FITS", _IMAGE, (b"SIMPLE  =",)),
    _Kind("XCF", _IMAGE, (b"gimp xcf ",)),
    _Kind("BPG", _IMAGE, (b"BPG\xfb",)),
    _Kind("FLIF", _IMAGE, (b"FLIF",)),
    _Kind("DjVu", _IMAGE, (b"AT&TFORM",)),
    _Kind("camera raw", _IMAGE, (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb")),
    _Kind("DICOM", _IMAGE, (b"DICM",), offset=128),
    _Kind("EMF", _IMAGE, (b" EMF",), offset=40),
    _Kind("WMF", _IMAGE, (b"\xd7\xcd\xc6\x9a",)),
    _Kind("PDF", _DOCUMENT, (b"%PDF-",)),
    _Kind("PostScript", _DOCUMENT, (b"%!PS", b"\xc5\xd0\xd3\xc6")),
    _Kind("Office document", _DOCUMENT, (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",)),
    _Kind("SVG", _DOCUMENT),
    _Kind("MP4", _FILM),
    _Kind("MOV", _FILM, (b"moov", b"mdat", b"wide"), offset=4),
    _Kind("Matroska", _FILM),
    _Kind("WebM", _FILM),
    _Kind("AVI", _FILM),
    _Kind("MPEG", _FILM, (b"\0\0\1\xba", b"\0\0\1\xb3")),
    _Kind("FLV", _FILM, (b"FLV\1",)),
    _Kind("ASF", _FILM, (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",)),
    _Kind("Ogg", _FILM, (b"OggS",)),
    _Kind("WAV", _FILM),
    _Kind("MP3", _FILM, (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")),
    _Kind("ZIP", _ARCHIVE, (b"PK\3\4", b"PK\5\6")),
    _Kind("RAR", _ARCHIVE, (b"Rar!\x1a\x07",)),
    _Kind("7z", _ARCHIVE, (b"7z\xbc\xaf\x27\x1c",)),
    _Kind("xz", _ARCHIVE, (b"\xfd7zXZ\0",)),
    _Kind("bzip2", _ARCHIVE, tuple(b"BZh%d1AY&SY" % level for level in range(1, 10))),
    _Kind("tar", _ARCHIVE, (b"ustar",), offset=257),
    _Kind("gzip", _CODED, (b"\x1f\x8b",)),
    _Kind("Zstandard", _CODED, (b"\x28\xb5\x2f\xfd",)),
    _Kind("WEBP", ""),
    _Kind("AVIF", ""),
    _Kind("HEIF", ""),
    _Kind("data URL", "decode it before upload: it is text"),
    _Kind("HTML", _PAGE),
    _Kind("XML", _PAGE),
    _Kind("JSON", _PAGE),
    _Kind(TEXT, _PAGE),
    _Kind(UNKNOWN, "look at the uploader: its first bytes are of no format that is known here"),
)

FORMATS: tuple[str, ...] = tuple(kind.name for kind in _KINDS)
"""Every name that ``recognise`` returns."""

_ADVICE = {kind.name: kind.advice for kind in _KINDS}

_HEIF_BRANDS = frozenset(
    b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1 avci avcs vvic jpeg jpgs j2ki".split()
)
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_OPEN_BRANDS = frozenset((b"mif1", b"msf1"))
"""Brands of images whose codec only the compatible brands show."""
_BRANDS_BYTES = 256

_RIFF = {b"WEBP": "WEBP", b"AVI ": "AVI", b"WAVE": "WAV"}

_MARKUP = re.compile(rb"<(svg|!doctype svg|!doctype html|html|head|body|script)\b", re.IGNORECASE)


def recognise(body: bytes) -> str:
    """The format of a file, one of ``FORMATS``. Reads only the first 4 KiB, and does not say that
    the file is valid."""
    head = body[:_HEAD_BYTES]
    if head[4:8] == b"ftyp":
        return _base_media(head)
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], UNKNOWN)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "WebM" if b"webm" in head[:64] else "Matroska"
    for kind in _KINDS:
        if head.startswith(kind.heads, kind.offset):
            return kind.name
    return _text(head)


def advice(name: str, formats: Iterable[str]) -> str:
    """Why a recognised file is not decoded if ``formats`` are allowed, and what to install or
    set."""
    file = "of no known format" if name == UNKNOWN else name
    do = _ADVICE[name]
    if name == "HEIF":
        do = "install clipstream[heif] and add HEIF to decode.formats if you trust its decoder"
    elif name in _DECODED:
        do = f"add {name} to decode.formats if you trust its decoder"
    return f"the file is {file}, which is none of decode.formats ({', '.join(formats)}); {do}"


def _base_media(head: bytes) -> str:
    """The format by the brands of a file of boxes (ISO/IEC 14496-12)."""
    end = min(int.from_bytes(head[:4], "big"), _BRANDS_BYTES)
    major = head[8:12]
    compatible = {head[at : at + 4] for at in range(16, end - 3, 4)}
    if major in _AVIF_BRANDS or (major in _OPEN_BRANDS and compatible & _AVIF_BRANDS):
        return "AVIF"
    if major in _HEIF_BRANDS:
        return "HEIF"
    if major == b"crx ":
        return "camera raw"
    return "MOV" if major == b"qt  " else "MP4"


def _text(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start or b"\0" in head:
        return UNKNOWN
    if start[:5].lower() == b"data:":
        return "data URL"
    if start[:1] == b"<":
        found = _MARKUP.search(start)
        if found is None:
            return "XML"
        return "SVG" if b"svg" in found[1].lower() else "HTML"
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not merely cut off at the end
            return UNKNOWN
    return "JSON" if start[:1] in (b"{", b"[") else TEXT
