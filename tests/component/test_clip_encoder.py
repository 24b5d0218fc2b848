"""The encoder at work: identity, layouts of a directory, precision, threads, errors of torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
from pipeline.adapters.clip.text_tower import TextTower
from pipeline.adapters.clip.vision.tower import VisionTower
from pipeline.errors import DeviceOutOfMemory, Halt, PoisonedBatch, WorkerLost
from pipeline.labels.label_set import Decision, Label, LabelSet
from pipeline.labels.scoring import CompiledLabelSets, compile_label_sets
from pipeline.records import Pixels
from tests.rigs.stages.clip_checkpoints import (
    SMALL_IMAGE,
    write_preprocessor,
    write_small_checkpoint,
)

TASKS = Path("/proc/self/task")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_checkpoint(tmp_path_factory.mktemp("original"))


@pytest.fixture
def checkpoint(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "tiny-clip"))


def load(**changed: Any) -> ClipEncoder:
    policy = {"device": "cpu", "precision": "fp32", "threads": 1}
    return ClipEncoder.load(ModelPolicy(**policy | changed))


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def pixels() -> Pixels:
    random = np.random.default_rng(1)
    return random.integers(0, 256, (2, SMALL_IMAGE, SMALL_IMAGE, 3), dtype=np.uint8)


def test_labels_of_equal_tokens_are_refused_in_whatever_batches_they_are_embedded(
    checkpoint: Path,
) -> None:
    encoder = load(directory=checkpoint)
    words = ["cat", "of cat", "at of", "c at of cat", "f", "of of of of of cat at cat"]
    labels = [Label(word, (f"{word}, {number}",)) for word in words for number in range(20)]

    def compiled(*more: str) -> CompiledLabelSets:
        extra = [Label(f"more {number}", (text,)) for number, text in enumerate(more)]
        label_set = LabelSet(
            "set", Decision.EXCLUSIVE, ("review",), "review", "review", (*labels, *extra)
        )
        return compile_label_sets([label_set], encoder.encode_texts, encoder.model)

    assert compiled("a cat", "the cat").names == {"set"}
    # Two prompts of one length fall into batches of one shape; 70 more tear them apart.
    alone = encoder.encode_texts(["a cat at"])
    together = encoder.encode_texts([*(label.prompts[0] for label in labels), "A CAT at"])
    assert 0 <= np.square(alone[0] - together[-1]).sum() < 1e-10
    with pytest.raises(Halt, match=r"cannot tell label 'more 1' from 'more 0'"):
        compiled("a cat at", "A CAT at")


def test_a_directory_is_named_after_itself_and_versioned_by_its_content(
    checkpoint: Path, tmp_path: Path
) -> None:
    model = load(directory=checkpoint).model
    assert model.name == "tiny-clip"
    assert model.revision.startswith("sha256:")
    (checkpoint / "README.md").write_text("says nothing about embeddings")
    moved = checkpoint.rename(tmp_path / "elsewhere")
    again = load(directory=moved, name="acme/ours").model
    assert (again.name, again.revision) == ("acme/ours", model.revision)
    write_preprocessor(moved, SMALL_IMAGE, image_mean=[0.5, 0.5, 0.5])
    assert load(directory=moved).model.revision != model.revision


def test_shards_and_a_nested_preprocessor_are_read(checkpoint: Path) -> None:
    expected = load(directory=checkpoint).encode_images(pixels())
    network = CLIPModel.from_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    network.save_pretrained(checkpoint, max_shard_size="40KB")
    assert len(list(checkpoint.glob("model-*-of-*.safetensors"))) > 1
    nested = checkpoint / "preprocessor_config.json"
    content = json.loads(nested.read_text()) | {
        "size": {"shortest_edge": SMALL_IMAGE},
        "crop_size": {"height": SMALL_IMAGE, "width": SMALL_IMAGE},
    }
    nested.unlink()
    (checkpoint / "processor_config.json").write_text(json.dumps({"image_processor": content}))
    np.testing.assert_array_equal(load(directory=checkpoint).encode_images(pixels()), expected)
    next(checkpoint.glob("model-*-of-*.safetensors")).unlink()
    with pytest.raises(Halt, match=r"is missing; model\.safetensors\.index\.json names it"):
        load(directory=checkpoint)


def test_the_constants_of_older_checkpoints_are_ignored(checkpoint: Path) -> None:
    expected = load(directory=checkpoint).encode_images(pixels())
    weights = load_file(checkpoint / "model.safetensors")
    weights["vision_model.embeddings.position_ids"] = torch.arange(17).unsqueeze(0)
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_array_equal(load(directory=checkpoint).encode_images(pixels()), expected)


def test_the_end_token_id_of_older_checkpoints_means_the_highest(checkpoint: Path) -> None:
    prompts = ["a cat", "a photo of a cat"]
    expected = load(directory=checkpoint).encode_texts(prompts)
    config = json.loads((checkpoint / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 2
    (checkpoint / "config.json").write_text(json.dumps(config))
    np.testing.assert_array_equal(load(directory=checkpoint).encode_texts(prompts), expected)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision_is_the_image_towers_alone(original: Path, precision: str) -> None:
    exact = load(directory=original, precision="fp32")
    reduced = load(directory=original, precision=precision)
    assert (exact.model.precision, reduced.model.precision) == ("fp32", precision)
    assert reduced.model.logit_scale == exact.model.logit_scale
    expected, vectors = exact.encode_images(pixels()), reduced.encode_images(pixels())
    assert not np.array_equal(vectors, expected)
    assert (vectors * expected).sum(axis=1).min() > 0.99
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(reduced.encode_texts(["a cat"]), exact.encode_texts(["a cat"]))


def test_cuda_without_a_device_halts_and_auto_takes_the_cpu(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Halt, match="no CUDA device visible") as caught:
        load(directory=original, device="cuda")
    assert caught.value.code == "model.device"
    assert load(directory=original, device="auto").model.engine == "torch-cpu"


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), DeviceOutOfMemory),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: …"), DeviceOutOfMemory),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when …"), DeviceOutOfMemory),
        (MemoryError(), DeviceOutOfMemory),
        (RuntimeError("shapes cannot be multiplied"), PoisonedBatch),
        (
            torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
            WorkerLost,
        ),
    ],
)
def test_errors_of_torch_have_their_fate(
    original: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, fate: type[Exception]
) -> None:
    encoder = load(directory=original)

    monkeypatch.setattr(VisionTower, "forward", raising(error))
    monkeypatch.setattr(TextTower, "forward", raising(error))
    with pytest.raises(fate):
        encoder.encode_images(pixels())
    with pytest.raises(WorkerLost if fate is WorkerLost else Halt):
        encoder.encode_texts(["a cat"])


def test_a_device_that_cannot_run_the_model_is_told_at_the_start(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr(VisionTower, "forward", raising(error))
    with pytest.raises(Halt, match="free the device") as caught:
        load(directory=original, precision="auto")
    assert caught.value.code == "model.device"
    assert "in auto" not in caught.value.message


def test_a_device_that_is_lost_at_the_start_ends_this_worker_alone(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    monkeypatch.setattr(VisionTower, "forward", raising(error))
    with pytest.raises(WorkerLost) as caught:
        load(directory=original)
    assert caught.value.code == "encode.device_lost"


@pytest.mark.parametrize(
    ("threads", "lanes", "expected"), [(3, None, 3), (3, 2, 2), (2, 5, 2), (4, 1, 1)]
)
def test_a_cpu_encodes_a_batch_a_thread_unless_it_is_said(
    threads: int, lanes: int | None, expected: int, original: Path
) -> None:
    encoder = load(directory=original, threads=threads, lanes=lanes)
    assert encoder.lanes == encoder.parallel == expected
    alone = encoder.encode_images(pixels())
    with ThreadPoolExecutor(2 * expected) as callers:
        for vectors in callers.map(encoder.encode_images, [pixels()] * 20):
            np.testing.assert_array_equal(vectors, alone)


@pytest.mark.skipif(not TASKS.exists(), reason="threads are counted in /proc, on Linux")
def test_the_set_number_of_threads_holds_in_the_thread_that_encodes(original: Path) -> None:
    """OpenMP starts every thread of ours with its own default, whatever the loading thread set."""
    encoder = load(directory=original, threads=1)
    started: list[int] = []

    def encode() -> None:
        before = threads_of_this_process()
        encoder.encode_images(pixels())
        # Large enough for OpenMP to spread over as many threads as it is allowed.
        torch.rand(1600, 768) @ torch.rand(768, 3072)
        started.append(threads_of_this_process() - before)

    thread = Thread(target=encode)
    thread.start()
    thread.join()
    assert started == [0]


def threads_of_this_process() -> int:
    return len(list(TASKS.iterdir()))


def test_a_worker_loads_torch_with_openmp_set_and_no_slow_library(original: Path) -> None:
    """OpenMP looks at its settings once, when torch loads it: they must be there by then, so that
    threads that wait for one another leave the processors to decoders. Importing transformers'
    models takes longer than importing torch."""
    program = (
        "import sys\n"
        "from types import SimpleNamespace as Settings\n"
        "from pathlib import Path\n"
        "from pipeline.adapters.clip.policy import ModelPolicy\n"
        "from workers.stages import load_encoder\n"
        "model = ModelPolicy(directory=Path(sys.argv[1]), device='cpu')\n"
        "print(load_encoder(Settings(model=model, batch=Settings(largest=1))).model.dimension)\n"
        "slow = ('transformers.modeling_utils', 'torch._dynamo', 'scipy', 'sympy')\n"
        "print([name for name in slow if name in sys.modules])\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    ran = subprocess.run(
        [sys.executable, "-c", program, original],
        env=environment | {"OMP_DISPLAY_ENV": "TRUE"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "16\n[]\n"
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in ran.stderr
