"""GIF (GIF89a, sections 18 to 27)."""

from __future__ import annotations

from pipeline.adapters.decode_wire import Refused, Verdict

MAX_GIF_BLOCKS = 1_000_000
"""Data blocks walked to count a GIF's frames (about 0.2 s). An honest block holds 255 bytes, so
this is some 255 MB of file; tiny blocks are a way to make readers slow."""


def count_gif_frames(body: bytes) -> int:
    """Walk a GIF's blocks without decoding them (GIF89a, sections 18 to 27).

    Pillow's own count reads block by block through Python's file interface, without a bound. A
    file that ends early counts the frames begun.

    Raises:
        Refused: more than ``MAX_GIF_BLOCKS`` blocks.
    """

    frames = 0
    in_data = False
    try:
        position = 13 + _gif_colour_bytes(body[10])
        for _ in range(MAX_GIF_BLOCKS):
            byte = body[position]
            if in_data:  # a data block: its size, 0 for the last
                position += 1 + byte
                in_data = byte != 0
            elif byte == 0x3B:  # the trailer
                return max(1, frames)
            elif byte == 0x2C:  # an image: descriptor, colour table, code size, data
                frames += 1
                position += 11 + _gif_colour_bytes(body[position + 9])
                in_data = True
            elif byte == 0x21:  # an extension: label, data
                position += 2
                in_data = True
            else:  # rubbish between blocks, which readers skip
                position += 1
    except IndexError:
        return max(1, frames)
    raise Refused(Verdict.CORRUPT, f"GIF of more than {MAX_GIF_BLOCKS:,} data blocks")


def _gif_colour_bytes(flags: int) -> int:
    """Size of the colour table that a descriptor's flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
