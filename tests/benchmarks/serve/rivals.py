"""Others who answer the same requests: infinity with its own server, and transformers' pipeline
behind FastAPI. Each server in its turn, ours before and after them; fp32; the same photographs from
the same number of clients."""

from __future__ import annotations

import base64
import json
import os
import statistics
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks import full_size, peer_environments
from tests.benchmarks.figures import Figure
from tests.benchmarks.peer_environments import UnavailableError
from tests.benchmarks.peers import QUIET
from tests.benchmarks.serve import pipeline_server
from tests.benchmarks.serve.load import Load, send
from tests.benchmarks.serve.server import Server, ours, started
from tests.rigs.stages.decoding import photos
from workers.embedded.processes import free_ports

CONCURRENCY = 64
WARM_S = 6.0
SECONDS = 15.0
ENVIRONMENT = "infinity"
PIPELINE_BATCHES = (32, 1)
MODEL = "clip"
GOALS = {"infinity": 1.10, "pipeline_32": 1.35, "pipeline_1": 3.0}
GOALS_WITH_AMX = {"infinity": 1.27, "pipeline_32": 1.5, "pipeline_1": 3.5}
"""What others run is AMX's too, and what they wait for between batches weighs more."""


def measure(folder: Path, seconds: float | None, tell: Callable[[str], None]) -> list[Figure]:
    """Up to five minutes, with the default number of seconds and what infinity needs installed."""
    seconds = seconds or SECONDS
    files = _written(folder)
    goals = GOALS_WITH_AMX if torch.cpu.get_capabilities().get("amx_bf16") else GOALS
    own: dict[str, list[float]] = {"classify": [], "embeddings": []}
    rates: dict[str, float] = {}

    def us() -> None:
        with ours(folder, _model()) as server:
            for what, load in (("classify", _raw), ("embeddings", _as_json)):
                own[what].append(_rate(load(server.port, files, seconds), folder))
                tell(f"ours, {what}: {own[what][-1]:.1f} images/s")

    us()
    for name, (begun, load) in _others(folder, tell).items():
        try:
            with ExitStack() as owned:
                server = owned.enter_context(begun())
                rates[name] = _rate(load(server.port, files, seconds), folder)
        except UnavailableError as problem:
            tell(f"goes on without {name}: {problem}")
            continue
        tell(f"{name}: {rates[name]:.1f} images/s")
    us()
    figures = [
        Figure.median(f"serve.rivals.ours.{what}", each, "images/s") for what, each in own.items()
    ]
    for name, rate in rates.items():
        what = "embeddings" if name == "infinity" else "classify"
        ratio = statistics.mean(own[what]) / rate
        figures += [
            Figure(f"serve.rivals.{name}", rate, "images/s"),
            Figure(f"serve.rivals.ours.over.{name}", ratio, "times", goals[name]),
        ]
    return figures


Begin = Callable[[], AbstractContextManager[Server]]
MakeLoad = Callable[[int, "Files", float], Load]


class Files:
    """Bodies of requests, one a photograph: as it is, and as OpenAI's clients would send it."""

    def __init__(self, raw: list[str], as_json: list[str]) -> None:
        self.raw, self.as_json = raw, as_json


def _written(folder: Path) -> Files:
    raw, as_json = [], []
    for number, body in enumerate(photos()):
        image, request = folder / f"{number:04}.jpg", folder / f"{number:04}.json"
        image.write_bytes(body)
        uri = f"data:image/jpeg;base64,{base64.b64encode(body).decode()}"
        asked = {"model": MODEL, "input": [uri], "modality": "image", "encoding_format": "base64"}
        request.write_text(json.dumps(asked))
        raw.append(str(image))
        as_json.append(str(request))
    return Files(raw, as_json)


def _raw(port: int, files: Files, seconds: float, path: str = "/v1/classify") -> Load:
    return Load(port, path, "image/jpeg", files.raw, seconds, WARM_S, concurrency=CONCURRENCY)


def _as_json(port: int, files: Files, seconds: float, path: str = "/v1/embeddings") -> Load:
    return Load(
        port, path, "application/json", files.as_json, seconds, WARM_S, concurrency=CONCURRENCY
    )


def _rate(load: Load, folder: Path) -> float:
    answers = send(load, folder)
    if not set(answers.statuses) <= {200, 429}:
        raise RuntimeError(f"{load.path}: answered with the statuses {answers.statuses}")
    return answers.of(200).rate


def _model() -> dict[str, Any]:
    # Both tell under this name what they run: infinity takes it from the request.
    return {"model": {"name": MODEL, "directory": str(full_size.checkpoint()), "device": "cpu"}}


def _others(folder: Path, tell: Callable[[str], None]) -> dict[str, tuple[Begin, MakeLoad]]:
    found: dict[str, tuple[Begin, MakeLoad]] = {
        "infinity": (partial(_infinity, folder, tell), partial(_as_json, path="/embeddings"))
    }
    for batch in PIPELINE_BATCHES:
        found[f"pipeline_{batch}"] = (
            partial(_pipeline, folder, batch),
            partial(_raw, path="/classify"),
        )
    return found


def _infinity(folder: Path, tell: Callable[[str], None]) -> AbstractContextManager[Server]:
    python = peer_environments.interpreter(ENVIRONMENT, tell)
    (port,) = free_ports(1)
    command = [
        str(python.with_name("infinity_emb")), "v2",
        "--model-id", str(full_size.checkpoint()), "--served-model-name", MODEL,
        "--engine", "torch", "--device", "cpu", "--dtype", "float32", "--batch-size", "32",
        "--host", "127.0.0.1", "--port", str(port), "--no-bettertransformer",
    ]  # fmt: skip
    return started("infinity", command, port, folder, "/health", QUIET)


def _pipeline(folder: Path, batch: int) -> AbstractContextManager[Server]:
    (port,) = free_ports(1)
    threads = len(os.sched_getaffinity(0))
    command = [
        sys.executable, "-P", pipeline_server.__file__,
        str(full_size.checkpoint()), str(port), str(batch), str(threads),
    ]  # fmt: skip
    return started(f"pipeline_{batch}", command, port, folder, "/readyz", QUIET)
