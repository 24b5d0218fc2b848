"""The tower equals transformers' in every shape a checkpoint may have; the engine its tower."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import CLIPModel

from pipeline.adapters.clip.vision.engine import Lane, VisionEngine, prepared_sizes
from pipeline.adapters.clip.vision.tower import VisionTower
from pipeline.encode.policy import lane_share
from pipeline.records import Pixels, Vector
from tests.rigs.stages.clip_checkpoints import DIMENSION, MEAN, STD, as_read, network
from tests.rigs.stages.clip_checkpoints import SMALL_IMAGE as SIDE

TOLERANCE = 1e-5


def images(count: int) -> Pixels:
    random = np.random.default_rng(1)
    return random.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def reference(of: CLIPModel, pixels: Pixels, mean: Any = MEAN, std: Any = STD) -> Vector:
    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(torch.float32) / 255
    normalised = (planes - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.inference_mode():
        features = of.get_image_features(pixel_values=normalised).pooler_output
    vectors: Vector = torch.nn.functional.normalize(features, dim=-1).numpy()
    return vectors


@pytest.mark.parametrize(
    "vision",
    [
        {},
        {"num_hidden_layers": 1},
        {"hidden_act": "gelu"},
        {"hidden_act": "gelu_pytorch_tanh"},
        {"num_attention_heads": 8},
        {"layer_norm_eps": 1e-2},
        {"attention_dropout": 0.5},
        {"patch_size": 32},
        {"patch_size": 7},  # 32 is no multiple
    ],
)
def test_the_tower_equals_get_image_features(vision: dict[str, Any]) -> None:
    of = network(vision=vision)
    tower = VisionTower(as_read(of))
    with torch.inference_mode():
        vectors = tower(torch.from_numpy(images(5))).numpy()
    np.testing.assert_allclose(vectors, reference(of, images(5)), atol=TOLERANCE, rtol=0)


def test_mean_and_std_are_the_checkpoints() -> None:
    of, mean, std = network(), (0.1, 0.5, 0.9), (0.7, 0.2, 0.4)
    with torch.inference_mode():
        vectors = VisionTower(as_read(of, mean, std))(torch.from_numpy(images(3))).numpy()
    expected = reference(of, images(3), mean, std)
    np.testing.assert_allclose(vectors, expected, atol=TOLERANCE, rtol=0)
    assert np.abs(vectors - reference(of, images(3))).max() > 100 * TOLERANCE


def test_the_model_keeps_its_own_weights() -> None:
    of = network()
    before = reference(of, images(2))
    VisionTower(as_read(of)).to(torch.bfloat16)
    np.testing.assert_array_equal(reference(of, images(2)), before)


def test_an_embedding_of_zeros_is_told_as_one_that_is_not_finite() -> None:
    tower = VisionTower(as_read(network()))
    torch.nn.init.zeros_(tower.projection.weight)
    with torch.inference_mode():
        assert not torch.isfinite(tower(torch.from_numpy(images(2)))).any()


@pytest.mark.parametrize(
    ("largest", "sizes"),
    [
        (1, (1,)),
        (8, (8,)),
        (9, (8, 9)),
        (32, (8, 32)),
        (512, (8, 32, 128, 512)),
        (100, (8, 25, 100)),
    ],
)
def test_sizes_are_quarters_of_the_largest(largest: int, sizes: tuple[int, ...]) -> None:
    assert prepared_sizes(largest) == sizes


class RecordingLane(Lane):
    """Notes the sizes it computes; some do not fit."""

    def __init__(self, run: Callable[[Tensor], Tensor], images: int, fits: int) -> None:
        super().__init__(run, images, SIDE, DIMENSION)
        self.fits = fits
        self.computed: list[tuple[int, int]] = []

    def prepare(self, size: int) -> None:
        if size > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        super().prepare(size)

    def compute(self, size: int, count: int) -> None:
        self.computed.append((size, count))
        super().compute(size, count)


def fixed(lanes: int = 1, fits: int = 32) -> tuple[VisionEngine, list[RecordingLane], VisionTower]:
    tower = VisionTower(as_read(network()))
    made = [RecordingLane(tower, 32, fits) for _ in range(lanes)]
    return VisionEngine(made, 32, prepared_sizes(32)), made, tower


@pytest.mark.parametrize(
    ("count", "batches"),
    [(1, [(8, 1)]), (8, [(8, 8)]), (9, [(32, 9)]), (33, [(32, 32), (8, 1)]), (0, [])],
)
def test_batches_are_of_prepared_sizes_and_rows_are_what_they_are_alone(
    count: int, batches: list[tuple[int, int]]
) -> None:
    engine, (lane,), tower = fixed()
    # What an earlier batch left behind fills the later ones, and shows in none.
    engine.encode(np.full((32, SIDE, SIDE, 3), 255, dtype=np.uint8))
    lane.computed.clear()
    vectors = engine.encode(images(count))
    assert lane.computed == batches
    with torch.inference_mode():
        for vector, image in zip(vectors, images(count), strict=True):
            alone = tower(torch.from_numpy(image[np.newaxis]))[0].numpy()
            np.testing.assert_allclose(vector, alone, atol=TOLERANCE, rtol=0)


def test_sizes_that_do_not_fit_are_left_out_and_their_batches_encoded_in_parts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine, (lane,), _ = fixed(fits=8)
    engine.prepare()
    assert "lower batch.max_size" in caplog.text
    lane.computed.clear()
    assert engine.encode(images(20)).shape == (20, DIMENSION)
    assert lane.computed == [(8, 8), (8, 8), (8, 4)]


def test_a_device_without_room_for_the_smallest_size_says_so() -> None:
    engine, _, _ = fixed(fits=7)
    with pytest.raises(torch.OutOfMemoryError):
        engine.prepare()


@pytest.mark.parametrize(
    ("largest", "lanes", "images"),
    [(32, 1, 32), (32, 2, 16), (32, 4, 8), (32, 16, 8), (4, 2, 4), (33, 2, 17)],
)
def test_lanes_share_the_images_that_are_encoded_at_once(
    largest: int, lanes: int, images: int
) -> None:
    assert lane_share(largest, lanes) == images


@pytest.mark.parametrize(
    ("threads", "lanes", "share"), [(4, 2, 2), (4, 1, 4), (3, 2, 1), (2, 2, 1), (1, 2, 1)]
)
def test_lanes_share_the_threads(threads: int, lanes: int, share: int) -> None:
    shares: list[int] = []

    class Tower(VisionTower):
        def forward(self, pixels: Tensor) -> Tensor:
            shares.append(torch.get_num_threads())
            return super().forward(pixels)

    engine = VisionEngine.on_cpu(
        Tower(as_read(network())),
        side=SIDE,
        largest=8,
        compiled=False,
        lanes=lanes,
        threads=threads,
    )
    engine.prepare()
    with ThreadPoolExecutor(lanes) as callers:
        list(callers.map(engine.encode, [images(1)] * 8))
    assert set(shares) == {share}
    assert len(shares) == lanes + 8


def test_callers_at_once_get_their_own_rows() -> None:
    engine, lanes, _ = fixed(lanes=3)
    engine.prepare()
    assert engine.lanes == 3
    assert all(lane.computed == [(8, 8), (32, 32)] for lane in lanes)
    parts = [images(40)[start : start + 5] for start in range(0, 40, 5)] * 5
    expected = [engine.encode(part) for part in parts]
    with ThreadPoolExecutor(6) as threads:
        for vectors, own in zip(threads.map(engine.encode, parts), expected, strict=True):
            np.testing.assert_array_equal(vectors, own)


def test_a_lane_is_free_again_after_a_failure() -> None:
    engine, (lane,), _ = fixed()
    lane.fits = 0
    with pytest.raises(torch.OutOfMemoryError):
        engine.prepare()
    assert engine.encode(images(1)).shape == (1, DIMENSION)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own compiler
def test_compiled_it_equals_itself_uncompiled() -> None:
    tower = VisionTower(as_read(network()))
    engine = VisionEngine.on_cpu(tower, side=SIDE, largest=8, compiled=True, lanes=2, threads=2)
    engine.prepare()
    plain = VisionEngine.on_cpu(tower, side=SIDE, largest=8, compiled=False, lanes=1, threads=1)
    for count in (1, 8, 11):
        vectors = engine.encode(images(count))
        np.testing.assert_allclose(vectors, plain.encode(images(count)), atol=TOLERANCE, rtol=0)
        np.testing.assert_array_equal(vectors, engine.encode(images(count)))
