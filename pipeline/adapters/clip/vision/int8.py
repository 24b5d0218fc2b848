"""A vision tower in int8 on a CPU: written by ``clipstream calibrate``, run by OpenVINO.

Weights and activations have 8 bits each. The ranges of activations are those of the images used for
calibration. Other images may lie outside: a tower calibrated on noise is plainly wrong on
photographs. So a few of the user's images are held out from calibration and kept next to the graph.
No worker starts if the int8 embeddings of these images stray from those in fp32.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ValidationError

from pipeline.adapters.clip.checkpoint import Checkpoint, first_line
from pipeline.adapters.clip.vision.engine import Run, VisionEngine
from pipeline.adapters.clip.vision.tower import VisionTower
from pipeline.encode.policy import SMALLEST_SIZE
from pipeline.errors import Halt
from pipeline.records import Pixels, Vector

GRAPH = "vision.xml"
WEIGHTS = "vision.bin"
HELD_OUT = "held-out.npy"
FACTS = "calibration.json"

DIGEST_DIGITS = 12

Result = TypeVar("Result")

log = logging.getLogger(__name__)


class CalibrationFacts(BaseModel):
    """Facts about a calibration."""

    model: str
    revision: str
    images: int
    """Number of images used for calibration."""
    held_out: int
    fidelity: float
    """Smallest centred cosine with fp32 over the held-out images, on the machine that
    calibrated."""
    openvino: str
    nncf: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """A calibrated tower on disk."""

    directory: Path
    held_out: Pixels
    digest: str
    """Hash of the graph and its weights. Embeddings of another calibration differ."""

    @classmethod
    def read(cls, directory: Path, checkpoint: Checkpoint, side: int) -> Self:
        """The calibration of a checkpoint whose images have ``side`` pixels.

        Raises:
            Halt: ``model.calibration``: it is damaged, or belongs to another model.
        """
        try:
            facts = CalibrationFacts.model_validate_json((directory / FACTS).read_bytes())
            held_out = np.load(directory / HELD_OUT, allow_pickle=False)
            files = [(directory / name).read_bytes() for name in (GRAPH, WEIGHTS)]
        except (OSError, EOFError, ValueError, ValidationError) as error:
            raise Halt(
                "model.calibration",
                f"model.calibration: {directory} cannot be read ({first_line(error)}); name the "
                "directory that `clipstream calibrate` wrote, or run it again",
            ) from error
        if facts.revision != checkpoint.revision:
            raise Halt(
                "model.calibration",
                f"model.calibration: {directory} is of {facts.model}@{facts.revision[:19]} and the "
                f"model is {checkpoint}; run `clipstream calibrate` for this model",
            )
        if held_out.dtype != np.uint8 or held_out.shape[1:] != (side, side, 3) or not len(held_out):
            raise Halt(
                "model.calibration",
                f"model.calibration: {directory / HELD_OUT} holds {held_out.dtype} "
                f"{list(held_out.shape)}; run `clipstream calibrate` again",
            )
        return cls(directory, held_out, hashlib.sha256(b"".join(files)).hexdigest())

    @property
    def engine_name(self) -> str:
        return f"openvino-cpu:{self.digest[:DIGEST_DIGITS]}"

    def engine(self, tower: VisionTower, *, largest: int, lanes: int, threads: int) -> VisionEngine:
        """An engine that replaces ``tower`` and has tried every batch size up to ``largest``; see
        ``VisionEngine.on_cpu``.

        Raises:
            Halt: ``model.int8_unavailable``, ``model.device``.
        """
        side = self.held_out.shape[1]
        try:
            graph = _Graph(self.directory / GRAPH, lanes, threads)
            engine = VisionEngine.in_parallel(
                [graph.runner() for _ in range(lanes)],
                side=side,
                dimension=tower.dimension,
                largest=largest,
                threads=threads,
                prepared=True,
            )
            engine.prepare()
        except (RuntimeError, OSError, MemoryError) as error:
            raise Halt(
                "model.device",
                f"model.calibration: {self.directory} cannot be run ({first_line(error)}); free "
                "memory, run `clipstream calibrate` again, or choose another model.precision",
            ) from error
        return engine

    def check(
        self, engine: VisionEngine, tower: VisionTower, *, threads: int, min_fidelity: float
    ) -> float:
        """Smallest centred cosine, over the held-out images, between embeddings of the engine and
        of the tower in fp32.

        Raises:
            Halt: ``model.unfaithful``: it is below ``min_fidelity``.
        """
        side = self.held_out.shape[1]
        reference = VisionEngine.on_cpu(
            tower, side=side, largest=SMALLEST_SIZE, compiled=False, lanes=1, threads=threads
        )
        own, other = engine.encode(self.held_out), reference.encode(self.held_out)
        least = float(centred_cosines(own, other).min())
        if not least >= min_fidelity:  # NaN is below
            raise Halt(
                "model.unfaithful",
                f"model.calibration: {self.directory}: the int8 embedding of one of "
                f"{len(self.held_out)} held-out images has a centred cosine of {least:.4f} with "
                f"fp32's against model.min_fidelity = {min_fidelity:g}; calibrate on more images, "
                "like those that you classify, or choose another model.precision",
            )
        log.info("model: in int8, centred cosines with fp32 are %.4f or more", least)
        return least


class _Graph:
    """Compiles the graph for each batch size that occurs; a graph for any size would take a tenth
    longer. Lanes are OpenVINO's streams, which share the weights."""

    def __init__(self, path: Path, lanes: int, threads: int) -> None:
        self._core: Any = openvino().Core()
        apart(partial(self._core.get_versions, "CPU"))  # loads the plugin
        self._path = path
        has_bf16 = torch.cpu.get_capabilities().get("amx_bf16", False)
        self._options = {
            "NUM_STREAMS": lanes,
            "INFERENCE_NUM_THREADS": threads,
            # Pinned threads would keep decoders and clients off their processors.
            "ENABLE_CPU_PINNING": False,
            # For the parts that are not quantized: norms, softmax, sums.
            "INFERENCE_PRECISION_HINT": "bf16" if has_bf16 else "f32",
        }
        self._compiled: dict[int, Any] = {}

    def runner(self) -> Run:
        """A function that runs the graph, for one caller at a time."""
        requests: dict[int, Any] = {}

        def run(pixels: torch.Tensor) -> torch.Tensor:
            size = len(pixels)
            if size not in requests:
                requests[size] = self._for_batches_like(pixels).create_infer_request()
            outcome = requests[size].infer([pixels.numpy()], share_inputs=True)
            return torch.from_numpy(outcome[0])

        return run

    def _for_batches_like(self, pixels: torch.Tensor) -> Any:
        size = len(pixels)
        if size not in self._compiled:
            graph = self._core.read_model(self._path)
            graph.reshape(list(pixels.shape))
            self._compiled[size] = self._core.compile_model(graph, "CPU", self._options)
        return self._compiled[size]


def openvino() -> Any:
    """The library, which is an optional extra.

    Raises:
        Halt: ``model.int8_unavailable``.
    """
    # OpenVINO reports its use to its maker if it can import this module. None stops the import.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # typeshed: modules
    try:
        import openvino
    except ImportError as error:
        raise Halt(
            "model.int8_unavailable",
            f"model.precision: int8 needs OpenVINO ({first_line(error)}); install "
            "clipstream[int8], or choose another precision",
        ) from error
    return openvino


def apart(work: Callable[[], Result]) -> Result:
    """The result of ``work``, which loads OpenVINO's CPU plugin. It runs in a thread that ends.

    The plugin moves the signal stack (sigaltstack) of the thread that loads it into memory of its
    own, and frees that memory in whichever thread drops the plugin. If the main thread loaded it
    and another thread dropped it, the main thread would have no stack for handlers, and the next
    SIGTERM would end the process with a segmentation fault. A thread that has ended handles no
    signals.

    A signal that raises here, as Ctrl-C does, is not held up by the thread.
    """
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            outcome.set_exception(error)

    threading.Thread(target=run, name="openvino", daemon=True).start()
    return outcome.result()


def centred_cosines(vectors: Vector, reference: Vector) -> npt.NDArray[np.float64]:
    """Cosines between rows after the reference's mean is subtracted from both. Embeddings of
    different images share most of their direction, so a plain cosine would mostly show that."""
    mean = reference.mean(axis=0, dtype=np.float64)
    own, other = vectors - mean, reference - mean
    lengths = np.linalg.norm(own, axis=1) * np.linalg.norm(other, axis=1)
    cosines: npt.NDArray[np.float64] = (own * other).sum(axis=1) / lengths
    return cosines
