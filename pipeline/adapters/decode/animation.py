"""Frames of an animation after the first one. Runs only in a decoder's child."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

from PIL import Image

from pipeline.adapters.decode.eight_bits import flatten, to_eight_bits


def further_frames(
    body: bytes,
    name: str,
    size: tuple[int, int],
    wanted: Sequence[int],
    see: Callable[[Image.Image], list[bytes]],
) -> list[bytes]:
    """What ``see`` sees in the ``wanted`` frames, counted from 0 and in order. ``see`` gets a frame
    as viewers show it: 8 bits, over the background, not turned. Ends before the first frame that is
    of another size or cannot be decoded.

    Decoders go from frame to frame, so the last frame costs as much as all frames. One frame is in
    memory at a time.

    Raises:
        MemoryError: a frame does not fit the memory limit.
    """
    seen: list[bytes] = []
    if not wanted:
        return seen
    try:
        with Image.open(io.BytesIO(body), formats=(name,)) as image:
            for frame in wanted:
                image.seek(frame)
                image.load()
                if image.size != size:
                    break
                seen += see(flatten(to_eight_bits(image)))
    except MemoryError:
        raise
    # The border to the decoders: hostile bytes make them raise any exception. What was seen so far
    # counts, and ``frames_seen`` says how much that is.
    except Exception:  # noqa: BLE001
        return seen
    return seen
