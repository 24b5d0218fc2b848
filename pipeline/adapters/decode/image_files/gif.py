"""GIF (GIF89a, sections 18 to 27)."""

from __future__ import annotations

from pipeline.adapters.decode.image_files.essentials import Essentials
from pipeline.adapters.decode.wire import Refused, Verdict

MAX_GIF_BLOCKS = 1_000_000
"""Most data blocks that are walked to count a GIF's frames (about 0.2 s). An honest block holds 255
bytes, so this is some 255 MB of file. Tiny blocks are a way to make readers slow."""

_SCREEN_BYTES = 13
_DESCRIPTOR_BYTES = 10
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_CONTROL, _CONTROL_BYTES = 0xF9, 4


def essentials(body: bytes) -> Essentials:
    """Keep the first image and its transparency."""
    frames = count_gif_frames(body)
    found = _first_image(body)
    if found is None or found[1] > len(body):
        return Essentials(body, frames=frames)
    at, end, control = found
    palette_end = _SCREEN_BYTES + _colour_bytes(body[10])
    left, top, width, height = (
        int.from_bytes(body[at + n : at + n + 2], "little") for n in (1, 3, 5, 7)
    )
    screen = int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")
    return Essentials(
        b"".join([body[:palette_end], control, body[at:end], bytes([_TRAILER])]),
        frames=frames,
        animation=body,
        covers=not (left or top) and width >= screen[0] and height >= screen[1],
    )


def fault(body: bytes, *, opened: bool) -> Refused:
    found = _first_image(body)
    if found is None:
        return Refused(Verdict.CORRUPT, "GIF without an image")
    if found[1] > len(body):
        return Refused(Verdict.TRUNCATED, "GIF that ends before its first image does")
    return Refused(Verdict.CORRUPT, "GIF whose first image cannot be decoded")


def count_gif_frames(body: bytes) -> int:
    """Walk a GIF's blocks without decoding them.

    Pillow's own count reads block by block through Python's file interface, without a bound. In a
    file that ends early, all begun frames count.

    Raises:
        Refused: more than ``MAX_GIF_BLOCKS`` blocks.
    """

    frames = 0
    in_data = False
    try:
        position = _SCREEN_BYTES + _colour_bytes(body[10])
        for _ in range(MAX_GIF_BLOCKS):
            byte = body[position]
            if in_data:  # a data block: its size, 0 for the last
                position += 1 + byte
                in_data = byte != 0
            elif byte == _TRAILER:
                return max(1, frames)
            elif byte == _IMAGE:  # descriptor, colour table, code size, data
                frames += 1
                position += 11 + _colour_bytes(body[position + 9])
                in_data = True
            elif byte == _EXTENSION:  # label, data
                position += 2
                in_data = True
            else:  # rubbish between blocks, which readers skip
                position += 1
    except IndexError:
        return max(1, frames)
    raise Refused(Verdict.CORRUPT, f"GIF of more than {MAX_GIF_BLOCKS:,} data blocks")


def _first_image(body: bytes) -> tuple[int, int, bytes] | None:
    """Where the first image begins and ends, and its control extension. If the file ends early, the
    end lies beyond the file. None if the file declares that it has no image."""
    control = b""
    try:
        at = _SCREEN_BYTES + _colour_bytes(body[10])
        while body[at] != _TRAILER:
            if body[at] == _IMAGE:
                data = at + _DESCRIPTOR_BYTES + _colour_bytes(body[at + 9]) + 1
                return at, _data_end(body, data), control
            if body[at] == _EXTENSION:
                end = _data_end(body, at + 2)
                # A shorter extension has no meaning, and the rest of a longer one has none.
                if body[at + 1] == _CONTROL and body[at + 2] >= _CONTROL_BYTES:
                    fields = body[at + 3 : at + 3 + _CONTROL_BYTES]
                    control = bytes([_EXTENSION, _CONTROL, _CONTROL_BYTES]) + fields + b"\0"
                at = end
            else:
                at += 1
    except IndexError:
        return len(body), len(body) + 1, control
    return None


def _data_end(body: bytes, at: int) -> int:
    """The end of a run of data blocks. If the run has no end, a place beyond the file."""
    while at < len(body):
        size = body[at]
        at += 1 + size
        if not size:
            return at
    return len(body) + 1


def _colour_bytes(flags: int) -> int:
    """Size of the colour table that a descriptor's flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
