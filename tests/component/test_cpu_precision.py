"""A CPU computes in bf16 where that is faster and says the same, by measurement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
from pipeline.adapters.clip.vision import cpu_precision
from pipeline.adapters.clip.vision.cpu_precision import sample_images
from pipeline.adapters.clip.vision.tower import VisionTower
from tests.rigs.stages.clip_checkpoints import write_small_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_checkpoint(tmp_path_factory.mktemp("original"))


class PacedTowers:
    """Time passes as they compute, so many seconds an image; embeddings in bf16 can be wrong.
    ``calls`` are the images of each, by dtype."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, fp32_s: float, bf16_s: float, *, wrong: bool = False
    ) -> None:
        self.now = 0.0
        self.calls: list[tuple[torch.dtype, int]] = []
        paces = {torch.float32: fp32_s, torch.bfloat16: bf16_s}
        forward = VisionTower.forward

        def paced(tower: VisionTower, pixels: Tensor) -> Tensor:
            dtype = tower.positions.dtype
            self.calls.append((dtype, len(pixels)))
            self.now += len(pixels) * paces[dtype]
            return forward(tower, 255 - pixels if wrong and dtype == torch.bfloat16 else pixels)

        monkeypatch.setattr(VisionTower, "forward", paced)

    def precision(self, directory: Path) -> str:
        policy = ModelPolicy(directory=directory, device="cpu", threads=1)
        return ClipEncoder.load(policy, timer=lambda: self.now).model.precision


@pytest.mark.parametrize(
    ("fp32_s", "bf16_s", "expected"),
    [(0.1, 0.05, "bf16"), (0.13, 0.099, "bf16"), (0.1, 0.08, "fp32"), (0.1, 0.15, "fp32")],
)
def test_bf16_is_taken_where_it_is_faster_by_a_good_part(
    fp32_s: float,
    bf16_s: float,
    expected: str,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    assert PacedTowers(monkeypatch, fp32_s, bf16_s).precision(checkpoint) == expected
    (line,) = [line for line in caplog.messages if "images/s" in line]
    assert line.startswith(
        f"model: {expected} on this CPU: a lane does {1 / fp32_s:.3g} images/s in fp32 and "
        f"{1 / bf16_s:.3g} in bf16, {fp32_s / bf16_s:.2f} times as many against 1.3"
    )


def test_bf16_that_says_something_else_is_not_taken_however_fast(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    towers = PacedTowers(monkeypatch, 0.1, 0.01, wrong=True)
    assert towers.precision(checkpoint) == "fp32"
    assert "against 0.95" in caplog.text


def test_a_processor_that_imitates_bf16_loses_little_time_on_it(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    towers = PacedTowers(monkeypatch, 0.2, 5.0)
    assert towers.precision(checkpoint) == "fp32"
    # One image to warm up and one to measure.
    assert [images for dtype, images in towers.calls if dtype == torch.bfloat16] == [1, 1]


def test_one_interruption_does_not_decide(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    towers = PacedTowers(monkeypatch, 0.1, 0.05)
    paced = VisionTower.forward

    def interrupted(tower: VisionTower, pixels: Tensor) -> Tensor:
        reduced = [images for dtype, images in towers.calls if dtype == torch.bfloat16]
        if tower.positions.dtype == torch.bfloat16 and len(reduced) == 1:  # its first round
            towers.now += 30
        return paced(tower, pixels)

    monkeypatch.setattr(VisionTower, "forward", interrupted)
    assert towers.precision(checkpoint) == "bf16"


def test_a_tower_that_bf16_cannot_run_runs_in_fp32(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = VisionTower.forward

    def only_fp32(tower: VisionTower, pixels: Tensor) -> Tensor:
        if tower.positions.dtype == torch.bfloat16:
            raise RuntimeError('"addmm_impl_cpu_" not implemented for BFloat16')
        return forward(tower, pixels)

    monkeypatch.setattr(VisionTower, "forward", only_fp32)
    policy = ModelPolicy(directory=checkpoint, device="cpu", threads=1)
    assert ClipEncoder.load(policy).model.precision == "fp32"


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_precision_that_is_set_is_not_measured(
    precision: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(cpu_precision, "_seconds")
    policy = ModelPolicy.model_validate(
        {"directory": checkpoint, "device": "cpu", "threads": 1, "precision": precision}
    )
    assert ClipEncoder.load(policy).model.precision == precision


@pytest.mark.parametrize("side", [1, 32, 224, 336])
def test_sample_images_are_unlike_each_other_at_every_size(side: int) -> None:
    images = sample_images(side)
    assert images.dtype == np.uint8
    assert images.shape == (8, side, side, 3)
    if side > 1:
        assert len({image.tobytes() for image in images}) == 8
