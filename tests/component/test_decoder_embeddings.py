"""What `fast` does to embeddings of a full-size ViT-B/32."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import numpy as np
import pytest

from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
from pipeline.adapters.clip.vision.int8 import centred_cosines
from pipeline.decode.policy import DecodePolicy
from tests.rigs.stages.clip_checkpoints import write_full_size_checkpoint
from tests.rigs.stages.decoding import Reference, as_file, decoding, enlarged, photos

LEAST_COSINE = 0.9995
THREADS = 2
MAX_PHOTOS = 6


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClipEncoder]:
    directory = tmp_path_factory.mktemp("vit-b-32")
    write_full_size_checkpoint(directory)
    policy = ModelPolicy(directory=directory, device="cpu", precision="fp32", threads=THREADS)
    yield ClipEncoder.load(policy)
    shutil.rmtree(directory)  # 600 MB, which pytest would keep for three runs


@pytest.mark.parametrize("size", [None, (1280, 960), (1920, 1080), (1800, 2400)])
def test_fast_keeps_the_embeddings_of_photographs(
    size: tuple[int, int] | None, encoder: ClipEncoder
) -> None:
    bodies = photos()[:: max(1, len(photos()) // MAX_PHOTOS)]
    if size is not None:
        bodies = [as_file(enlarged(body, *size), "JPEG", quality=88) for body in bodies]
    reference = Reference(encoder.geometry)
    with decoding(DecodePolicy(mode="fast", processes=2)) as decoder:
        pixels = np.stack([image.pixels for image in decoder.all(bodies, encoder.geometry)])
    expected = encoder.encode_images(np.stack([reference.pixels(body) for body in bodies]))
    # Raw cosines of different photographs are 0.97 and more.
    assert centred_cosines(encoder.encode_images(pixels), expected).min() >= LEAST_COSINE
