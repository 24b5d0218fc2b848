"""Undoes content codings, as browsers do. Runs only in a decoder's child, so that its limits hold
for bombs and for holes in the libraries.

At most the limit is unpacked, and one step more, whatever the input.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator

import brotli
import zstandard

from pipeline.adapters.decode.wire import Refused, Verdict
from pipeline.decode.signatures import UNKNOWN, recognise

_STEP_BYTES = 2**20

_GZIP_HEAD = b"\x1f\x8b"
_GZIP, _ZLIB, _RAW = 31, 15, -15  # `wbits` of zlib

_ZSTD_WINDOW_BYTES = 2**23
"""The largest window that RFC 9659 lets a sender demand."""
_ZSTD_STEP_BYTES = 256
"""Input bytes of a step. zstandard returns all output of a step at once, up to 128 KiB for every 4
bytes."""


def undo(body: bytes, codings: tuple[str, ...], max_bytes: int) -> bytes:
    """The file inside a body to which ``codings`` (see ``pipeline.decode``) were applied in turn.

    Raises:
        Refused: the file has more than ``max_bytes``, ends early or does not have this coding.
    """
    for coding in reversed(codings):
        body = _undo(body, coding, max_bytes)
    return body


def _undo(body: bytes, coding: str, max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    try:
        for piece in _UNPACKED[coding](body):
            size += len(piece)
            if size > max_bytes:
                raise Refused(
                    Verdict.TOO_LARGE,
                    f"unpacked from its Content-Encoding ({coding}), the file exceeds "
                    f"fetch.max_bytes = {max_bytes:,}; raise the limit if such images are "
                    "legitimate",
                )
            pieces.append(piece)
    except EOFError:
        raise Refused(
            Verdict.TRUNCATED,
            f"the file ends before its Content-Encoding ({coding}) does; look at the uploader",
        ) from None
    except (zlib.error, brotli.error, zstandard.ZstdError) as error:
        raise Refused(Verdict.CORRUPT, _not_so_coded(body, coding, error)) from error
    return b"".join(pieces)


def _not_so_coded(body: bytes, coding: str, error: Exception) -> str:
    found = recognise(body)
    if found == UNKNOWN:
        return f"the file is not what its Content-Encoding ({coding}) says: {error}"
    return (
        f"the object's Content-Encoding is {coding} and its bytes are {found} as they are stored; "
        "mend the header"
    )


def _gunzip(body: bytes) -> Iterator[bytes]:
    """Members one after the other. Anything after the last member is ignored."""
    while True:
        unpacker = zlib.decompressobj(_GZIP)
        yield from _inflate(unpacker, body)
        body = unpacker.unused_data
        if not body.startswith(_GZIP_HEAD):
            return


def _undeflate(body: bytes) -> Iterator[bytes]:
    """With zlib's header, as the standard says, or without, as some servers send it."""
    head = int.from_bytes(body[:2], "big")
    has_head = head >> 8 & 15 == zlib.DEFLATED and head % 31 == 0
    return _inflate(zlib.decompressobj(_ZLIB if has_head else _RAW), body)


def _inflate(unpacker: zlib._Decompress, body: bytes) -> Iterator[bytes]:
    while not unpacker.eof:
        piece = unpacker.decompress(body, _STEP_BYTES)
        body = unpacker.unconsumed_tail
        if not (piece or body or unpacker.eof):
            raise EOFError
        yield piece


def _unbrotli(body: bytes) -> Iterator[bytes]:
    unpacker = brotli.Decompressor()
    while not unpacker.is_finished():
        piece = unpacker.process(body, output_buffer_limit=_STEP_BYTES)
        body = b""
        if not piece and unpacker.can_accept_more_data() and not unpacker.is_finished():
            raise EOFError
        yield piece


def _unzstd(body: bytes) -> Iterator[bytes]:
    """Frames one after the other."""
    file = io.BytesIO(body)
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    ended = False
    while step := file.read(_ZSTD_STEP_BYTES):
        unpacker = decompressor.decompressobj()
        while step:
            yield unpacker.decompress(step)
            ended = unpacker.eof
            if ended:
                file.seek(file.tell() - len(unpacker.unused_data))
                break
            step = file.read(_ZSTD_STEP_BYTES)
    if not ended:
        raise EOFError


_UNPACKED: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _gunzip,
    "deflate": _undeflate,
    "br": _unbrotli,
    "zstd": _unzstd,
}
