"""CLIP in PyTorch: a CLIPModel checkpoint of the Hugging Face hub or a local directory."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch

from pipeline.adapters.clip.checkpoint import Checkpoint, first_line, from_directory, from_hub
from pipeline.adapters.clip.model import ClipModel, read_model
from pipeline.adapters.clip.policy import DEFAULT_MODEL, DEFAULT_REVISION, ModelPolicy
from pipeline.adapters.clip.text_tower import TextTower
from pipeline.adapters.clip.tokenizer import PROBE_PROMPT
from pipeline.adapters.clip.vision.cpu_precision import Timer, faster_tower
from pipeline.adapters.clip.vision.cuda import cuda_engine
from pipeline.adapters.clip.vision.engine import VisionEngine
from pipeline.adapters.clip.vision.int8 import Calibration
from pipeline.adapters.clip.vision.tower import VisionTower
from pipeline.adapters.processors import available_processors
from pipeline.errors import DeviceOutOfMemory, Halt, PoisonedBatch, WorkerLost
from pipeline.ports import PromptTokens
from pipeline.records import ImageGeometry, ModelIdentity, Pixels, Vector

__all__ = ["DEFAULT_MODEL", "DEFAULT_REVISION", "ClipEncoder", "ModelPolicy"]

log = logging.getLogger(__name__)

LARGEST_BATCH = 32
"""Images that are encoded at a time, unless the caller says otherwise."""

TEXT_BATCH = 64
"""Prompts in a text batch. The text tower is at its plateau there, and an image batch behind a text
batch waits little."""

DTYPES: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

OUT_OF_MEMORY_MARKS = (
    "out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Messages of memory errors that are not torch.OutOfMemoryError."""


class ClipEncoder:
    """Implements ``pipeline.ports.Encoder``.

    The same pixels give the same bits only at the same place of a batch of the same size, because
    the linear algebra picks its kernels by shape. Otherwise a unit vector's components differ by
    about 1e-7 in fp32.
    """

    def __init__(
        self,
        identity: ModelIdentity,
        geometry: ImageGeometry,
        images: VisionEngine,
        prompts: PromptTokens,
        texts: TextTower,
        threads: int,
    ) -> None:
        """``images`` is the engine of the vision tower. ``texts`` is on the device that it
        runs on. See ``load``."""
        self._identity = identity
        self._geometry = geometry
        self._images = images
        self._prompts = prompts
        self._texts = texts
        self._threads = threads

    @classmethod
    def load(
        cls,
        policy: ModelPolicy,
        largest_batch: int = LARGEST_BATCH,
        timer: Timer = time.perf_counter,
    ) -> Self:
        """Find, check and load the model, and try it. Blocks for seconds, on a GPU for up to
        minutes. The engine is prepared for batches of up to ``largest_batch`` images, on a CPU for
        a lane's share of them. May download. ``timer`` measures precisions.

        Raises:
            Halt: ``model.*``; the message says what to change.
        """
        checkpoint = find_checkpoint(policy)
        device = _device(policy)
        precision = _precision(policy, device)
        threads = model_threads(policy)
        model = read_model(checkpoint)
        prompts, geometry = model.prompts, model.preprocessing.geometry
        side = geometry.crop
        calibration = (
            Calibration.read(policy.calibration, checkpoint, side)
            if precision == "int8" and policy.calibration is not None
            else None
        )
        tower, texts = VisionTower(model), _text_tower(model, device, checkpoint)
        logit_scale = model.weights["logit_scale"].exp().item()
        del model  # half of its weights are in no tower as they are
        if precision is None:
            precision, tower = faster_tower(
                tower,
                side=side,
                threads=max(1, threads // model_lanes(policy)),
                min_fidelity=policy.min_fidelity,
                timer=timer,
            )
        tower.to(dtype=DTYPES.get(precision, torch.float32))
        identity = ModelIdentity(
            name=checkpoint.name,
            revision=checkpoint.revision,
            dimension=tower.dimension,
            logit_scale=logit_scale,
            precision=precision,
            engine=calibration.engine_name if calibration else f"torch-{device.type}",
        )
        if calibration:
            images = calibration.engine(
                tower, largest=largest_batch, lanes=model_lanes(policy), threads=threads
            )
            calibration.check(images, tower, threads=threads, min_fidelity=policy.min_fidelity)
        else:
            images = _prepared(tower, side, largest_batch, device, policy, identity, checkpoint)
        encoder = cls(identity, geometry, images, prompts, texts, threads)
        encoder._try_once(checkpoint)
        return encoder

    @property
    def model(self) -> ModelIdentity:
        return self._identity

    @property
    def geometry(self) -> ImageGeometry:
        return self._geometry

    @property
    def prompts(self) -> PromptTokens:
        return self._prompts

    @property
    def lanes(self) -> int:
        return self._images.lanes

    @property
    def parallel(self) -> int:
        return self._images.parallel

    @property
    def largest(self) -> int:
        return self._images.largest

    def encode_images(self, pixels: Pixels) -> Vector:
        """See ``Encoder.encode_images``. A torch error that leaves the device usable becomes
        ``PoisonedBatch``. Any other (such as an illegal address) becomes WorkerLost."""
        side = self._geometry.crop
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (side, side, 3):
            raise Halt(
                "encode.wrong_shape",
                f"encode: pixels are {pixels.dtype} {list(pixels.shape)} against uint8 "
                f"[batch, {side}, {side}, 3]; the decoder and the model disagree",
            )
        try:
            return self._images.encode(pixels)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise _fate(error) from error
            shortage = first_line(error)
        # Not inside the handler: there the error's frames still hold the activations.
        torch.cuda.empty_cache()  # does nothing without a device in use
        raise DeviceOutOfMemory(f"{len(pixels)} images: {shortage}")

    def encode_texts(self, prompts: Sequence[str]) -> Vector:
        """See ``Encoder.encode_texts``. Prompts of similar length share a batch, and each batch is
        padded to its longest prompt."""
        ids = self._token_ids(prompts)
        vectors = np.empty((len(prompts), self._identity.dimension), dtype=np.float32)
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        for start in range(0, len(order), TEXT_BATCH):
            batch = order[start : start + TEXT_BATCH]
            try:
                vectors[batch] = self._embed_texts([ids[index] for index in batch])
            except torch.AcceleratorError as error:
                raise _fate(error) from error
            except (RuntimeError, MemoryError) as error:
                raise Halt(
                    "encode.out_of_memory" if _is_out_of_memory(error) else "encode.unusable",
                    f"encode: embedding {len(batch)} prompts failed ({first_line(error)}); free "
                    "the device or look at its log",
                ) from error
        return vectors

    def _embed_texts(self, ids: Sequence[Sequence[int]]) -> Vector:
        torch.set_num_threads(self._threads)  # see VisionEngine
        longest = max(len(row) for row in ids)
        padded = torch.tensor([[*row, *[row[-1]] * (longest - len(row))] for row in ids])
        with torch.inference_mode():
            vectors: Vector = self._texts(padded.to(self._texts.device)).cpu().numpy()
            return vectors

    def _token_ids(self, prompts: Sequence[str]) -> Sequence[Sequence[int]]:
        ids = self._prompts.tokenize(prompts) if prompts else []
        most = self._prompts.max_tokens
        for prompt, row in zip(prompts, ids, strict=True):
            if len(row) > most:
                raise Halt(
                    "model.prompt_too_long",
                    f"encode: prompt {prompt!r} has {len(row)} tokens against {most}; "
                    "shorten it: a cut prompt would mean something else",
                )
        return ids

    def _try_once(self, checkpoint: Checkpoint) -> None:
        side = self._geometry.crop
        image = self.encode_images(np.zeros((1, side, side, 3), dtype=np.uint8))
        if not (np.isfinite(image).all() and np.isfinite(self.encode_texts([PROBE_PROMPT])).all()):
            raise Halt(
                "model.not_finite",
                f"model {checkpoint}: its embeddings are not finite in {self._identity.precision}; "
                "set model.precision to fp32 or bf16, or look for a damaged checkpoint",
            )


def find_checkpoint(policy: ModelPolicy) -> Checkpoint:
    """A complete local copy of the policy's model. May download.

    Raises:
        Halt: ``model.not_found``, ``model.incomplete`` or ``model.unreachable``.
    """
    if policy.directory is not None:
        return from_directory(policy.name, policy.directory)
    return from_hub(
        policy.name,
        policy.revision,
        cache_directory=policy.cache_directory,
        offline=policy.offline,
    )


def _text_tower(model: ClipModel, device: torch.device, checkpoint: Checkpoint) -> TextTower:
    """The text tower on its device. It comes before the image engine, which takes what it finds
    free.

    Raises:
        WorkerLost: the device's context is lost.
        Halt: ``model.device``.
    """
    try:
        return TextTower(model).to(device)
    except torch.AcceleratorError as error:
        raise _fate(error) from error
    except (RuntimeError, MemoryError) as error:
        raise Halt(
            "model.device",
            f"model {checkpoint}: its text tower does not fit on {device} ({first_line(error)}); "
            "choose another model.device, or free the device",
        ) from error


def _prepared(
    tower: VisionTower,
    side: int,
    largest: int,
    device: torch.device,
    policy: ModelPolicy,
    identity: ModelIdentity,
    checkpoint: Checkpoint,
) -> VisionEngine:
    """An engine that has tried every batch size that it will get.

    Raises:
        WorkerLost: the device's context is lost.
        Halt: ``model.device``.
    """
    compiled = device.type == "cuda" if policy.compile == "auto" else policy.compile == "on"

    def prepared(compiled: bool) -> VisionEngine:
        if device.type == "cuda":
            engine = cuda_engine(tower, device, side=side, largest=largest, compiled=compiled)
        else:
            engine = VisionEngine.on_cpu(
                tower,
                side=side,
                largest=largest,
                compiled=compiled,
                lanes=model_lanes(policy),
                threads=model_threads(policy),
            )
        engine.prepare()
        return engine

    try:
        try:
            return prepared(compiled)
        except (RuntimeError, OSError) as error:
            device_fails = isinstance(error, torch.AcceleratorError) or _is_out_of_memory(error)
            if not compiled or policy.compile == "on" or device_fails:
                raise
            log.warning(
                "model: compiling failed (%s); the model runs uncompiled, at about three quarters "
                "of its speed: install a C compiler, or set model.compile to off",
                first_line(error),
            )
            return prepared(False)
    except torch.AcceleratorError as error:
        raise _fate(error) from error
    except (RuntimeError, OSError, MemoryError) as error:
        remedy = ", or model.compile to off" if compiled else ""
        raise Halt(
            "model.device",
            f"model {checkpoint}: fails on one black image on {device} in {identity.precision} "
            f"({first_line(error)}); choose another model.device or model.precision{remedy}, or "
            "free the device",
        ) from error


def model_threads(policy: ModelPolicy) -> int:
    """CPU threads of all lanes together. torch's own default follows OMP_NUM_THREADS."""
    return policy.threads or available_processors()


def model_lanes(policy: ModelPolicy) -> int:
    """Batches that a CPU encodes at once."""
    threads = model_threads(policy)
    return min(policy.lanes or threads, threads)


def _device(policy: ModelPolicy) -> torch.device:
    on_cpu = policy.device == "cpu" or policy.precision == "int8"
    if on_cpu or (policy.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise Halt(
            "model.device",
            "model.device: cuda asked for, or a GPU reserved, and no CUDA device visible to torch; "
            "check the driver and that torch is built for it, or run on CPUs: "
            "workers.gpus_per_worker 0 and model.device auto",
        )
    return torch.device("cuda")


def _precision(policy: ModelPolicy, device: torch.device) -> str | None:
    """None: what is faster here, to be measured."""
    cuda = device.type == "cuda"
    has_bf16 = not cuda or torch.cuda.is_bf16_supported(including_emulation=False)
    if policy.precision == "auto":
        if not cuda:
            return None
        return "bf16" if has_bf16 else "fp32"
    if policy.precision == "bf16" and not has_bf16:
        raise Halt("model.device", "model.precision: this device has no bf16; set fp16 or fp32")
    return policy.precision


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        mark in str(error) for mark in OUT_OF_MEMORY_MARKS
    )


def _fate(error: BaseException) -> Exception:
    if isinstance(error, torch.AcceleratorError):
        # The device's context is lost, so every later call of this process would fail.
        return WorkerLost(
            "encode.device_lost",
            f"encode: the device failed ({first_line(error)}); a restarted worker has a new "
            "context; if the failure comes back, look at the device driver's log",
        )
    return PoisonedBatch(first_line(error))
