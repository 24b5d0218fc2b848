"""What people write first: transformers' zero-shot pipeline behind FastAPI.

`python -P pipeline_server.py CHECKPOINT PORT BATCH THREADS`. With a batch of 1 the pipeline is
called for each request. With more, one thread takes as many images as wait, up to the batch. Body:
the file of an image. Like other peers, it imports nothing of this project.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import threading
from concurrent.futures import Future
from queue import Empty, Queue
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image

NAMES_OF_LABELS = ("cat", "dog", "car", "tree", "house", "bird", "boat", "cup")
LABELS = tuple(f"a photo of a {name}" for name in NAMES_OF_LABELS)

Waiting = tuple[bytes, "Future[Any]"]


class Batches:
    """Calls the pipeline in a thread of its own, with all images that wait."""

    def __init__(self, pipeline: Any, largest: int) -> None:
        self._pipeline, self._largest = pipeline, largest
        self._waiting: Queue[Waiting] = Queue()
        threading.Thread(target=self._work, daemon=True).start()

    def put(self, file: bytes) -> Future[Any]:
        answer: Future[Any] = Future()
        self._waiting.put((file, answer))
        return answer

    def _work(self) -> None:
        while True:
            taken = [self._waiting.get()]
            while len(taken) < self._largest:
                try:
                    taken.append(self._waiting.get_nowait())
                except Empty:
                    break
            images = [Image.open(io.BytesIO(file)).convert("RGB") for file, _ in taken]
            answers = self._pipeline(
                images,
                candidate_labels=list(LABELS),
                batch_size=self._largest,
                hypothesis_template="{}",
            )
            for (_, answer), result in zip(taken, answers, strict=True):
                answer.set_result(result)


def application(pipeline: Any, batch: int) -> FastAPI:
    api = FastAPI()
    batches = Batches(pipeline, batch)

    @api.get("/readyz")
    async def readyz() -> dict[str, str]:
        return {}

    @api.post("/classify")
    async def classify(request: Request) -> Any:
        return await asyncio.wrap_future(batches.put(await request.body()))

    return api


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("port", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("threads", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    from transformers import pipeline

    loaded: Any = pipeline(
        "zero-shot-image-classification", model=arguments.checkpoint, device="cpu"
    )
    uvicorn.run(application(loaded, arguments.batch), port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
