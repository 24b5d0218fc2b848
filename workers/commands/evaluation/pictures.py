"""Small pictures of images, decoded in the sandbox, for reports."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Collection, Mapping

from pipeline.adapters.jpeg import as_jpeg
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.errors import Reject
from pipeline.evaluation.sample import LabelledImage
from pipeline.metrics import IMAGE_METRICS
from workers.decoding import decoding
from workers.settings.loading import Settings

EDGE_PX = 160


def pictures(settings: Settings, images: Collection[LabelledImage]) -> Mapping[str, str]:
    """Data URIs by the names of the images that can still be read. Runs an event loop.

    Raises:
        Halt: ``decode.unavailable``.
    """
    return asyncio.run(_pictures(settings, images)) if images else {}


async def _pictures(settings: Settings, images: Collection[LabelledImage]) -> dict[str, str]:
    made: dict[str, str] = {}
    meter = PrometheusMeter(IMAGE_METRICS)
    async with decoding(settings.decode, meter, max_file_bytes=settings.fetch.max_bytes) as decoder:
        for image in images:
            try:
                whole = await decoder.whole(image.read(), EDGE_PX)
            except (Reject, OSError):
                continue
            body = base64.b64encode(as_jpeg(whole.pixels)).decode()
            made[image.name] = f"data:image/jpeg;base64,{body}"
    return made
