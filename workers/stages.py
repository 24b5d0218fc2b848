"""The per-image path, built from settings on the caller's own event loop and closed in order.

The stream runs it next to the Kafka thread. Any other kind of worker runs it where it wants.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

from pipeline.adapters.clock import SystemClock
from pipeline.adapters.decode.pool import MAX_FILE_BYTES, SandboxedDecoder
from pipeline.decode.policy import DecodePolicy
from pipeline.encode.batching import Batcher
from pipeline.encode.policy import BatchPolicy
from pipeline.fetch import Fetcher, Stores
from pipeline.flow import Flow
from pipeline.look import Look
from pipeline.metrics import MODEL_INFO
from pipeline.ports import Encoder, Meter
from pipeline.records import EmbeddingDtype, ModelIdentity
from workers.decoding import decoding
from workers.known import NOTHING_KNOWN, Known
from workers.settings.loading import Settings
from workers.stores import fetching_of, open_stores


@dataclass(frozen=True, slots=True)
class Looking:
    """Decode, batch and encode. ``batcher`` embeds texts too, ``decoder`` makes pictures for people
    too."""

    decoder: SandboxedDecoder
    look: Look
    batcher: Batcher


@dataclass(frozen=True, slots=True)
class Stages:
    """All stages of an image, in their order."""

    fetcher: Fetcher
    look: Look
    batcher: Batcher
    flow: Flow


def load_encoder(settings: Settings) -> Encoder:
    """The configured model. Blocks for seconds; may download."""
    # By default, waiting threads of torch spin on the processors that decoders and clients need.
    # OpenMP reads the variable when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Imported here because torch and transformers take seconds to import, and the driver needs
    # neither.
    from pipeline.adapters.clip.encoder import ClipEncoder

    return ClipEncoder.load(settings.model, settings.batch.largest)


def load_for_texts(settings: Settings) -> Encoder:
    """The configured model on this machine's CPU, for prompts, which are always embedded in fp32.
    Blocks for seconds; may download."""
    model = settings.model.model_copy(
        update={"precision": "fp32", "calibration": None, "device": "cpu", "compile": "off"}
    )
    return load_encoder(settings.model_copy(update={"model": model}))


def another_model(of_images: ModelIdentity, here: ModelIdentity) -> str | None:
    """Why prompts that ``here`` embeds cannot be compared with images that ``of_images`` embedded.
    None: they can. Precision and engine may differ: prompts are always embedded in fp32."""
    theirs = (of_images.name, of_images.revision, of_images.dimension, of_images.logit_scale)
    ours = (here.name, here.revision, here.dimension, here.logit_scale)
    if theirs == ours:
        return None
    return (
        f"the images were embedded by {theirs[0]} at revision {theirs[1]} (dimension {theirs[2]}, "
        f"logit scale {theirs[3]:g}), and the settings load {ours[0]} at {ours[1]} (dimension "
        f"{ours[2]}, logit scale {ours[3]:g}); name that model in the settings"
    )


def tell_model(meter: Meter, model: ModelIdentity) -> None:
    """Show in the metrics which model runs, and in which version of Clipstream."""
    meter.set(
        MODEL_INFO,
        1,
        model=model.name,
        revision=model.revision,
        precision=model.precision,
        engine=model.engine,
        version=version("clipstream"),
    )


@asynccontextmanager
async def looking(
    encoder: Encoder,
    meter: Meter,
    decode: DecodePolicy,
    batch: BatchPolicy,
    *,
    dtype: EmbeddingDtype = "float32",
    max_file_bytes: int = MAX_FILE_BYTES,
    max_waiting: int | None = None,
    min_share: float = 0.0,
    pdq: bool = False,
) -> AsyncIterator[Looking]:
    """The stages that turn bytes into embeddings, without a store. With ``max_waiting``, an image
    that finds so many waiting for the encoder is refused with ``Overloaded``. ``pdq`` is as for
    ``decoding``.

    Raises:
        Halt: as ``decoding``.
    """
    clock = SystemClock()
    async with decoding(
        decode, meter, max_file_bytes=max_file_bytes, min_share=min_share, pdq=pdq
    ) as decoder:
        batcher = Batcher(encoder, batch, clock, meter, min_share, max_waiting=max_waiting)
        try:
            look = Look(decoder, batcher, encoder, decode, dtype, clock, meter)
            yield Looking(decoder, look, batcher)
        finally:
            await batcher.close()


def looking_by(
    settings: Settings,
    encoder: Encoder,
    meter: Meter,
    *,
    max_waiting: int | None = None,
    min_share: float = 0.0,
    pdq: bool = False,
) -> AbstractAsyncContextManager[Looking]:
    """As ``looking``, with what the settings say of files and embeddings."""
    return looking(
        encoder,
        meter,
        settings.decode,
        settings.batch,
        dtype=settings.events.embedding_dtype,
        max_file_bytes=settings.fetch.max_bytes,
        max_waiting=max_waiting,
        min_share=min_share,
        pdq=pdq,
    )


@asynccontextmanager
async def stages(
    settings: Settings,
    encoder: Encoder,
    meter: Meter,
    stores: Stores | None = None,
    *,
    max_waiting: int | None = None,
    known: Known = NOTHING_KNOWN,
) -> AsyncIterator[Stages]:
    """The whole path. ``stores`` defaults to the stores of the settings. They are closed at the
    end, even if the path does not come up. ``max_waiting`` is as for ``looking``; a worker that
    bounds what it takes in, as the stream does, needs none. ``known`` are the lists of known
    pictures.

    Raises:
        Halt: as ``decoding`` and ``workers.stores.open_stores``.
    """
    clock = SystemClock()
    async with AsyncExitStack() as owned:
        if stores is None:
            stores = await open_stores(settings)
        try:
            fetcher = fetching_of(settings, stores, clock, meter)
        except BaseException:
            await stores.close()
            raise
        owned.push_async_callback(fetcher.close)
        seeing = await owned.enter_async_context(
            looking_by(
                settings,
                encoder,
                meter,
                max_waiting=max_waiting,
                min_share=settings.priority.min_share,
                pdq=known.pdq,
            )
        )
        flow = Flow(fetcher, seeing.look, clock, meter, known.lists)
        yield Stages(fetcher, seeing.look, seeing.batcher, flow)
