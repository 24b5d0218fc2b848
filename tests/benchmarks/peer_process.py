"""The process of one peer: `python -P peer_process.py NAME CHECKPOINT PHOTOS THREADS`.

Once it has loaded it prints a line. For each number of images on the standard input it classifies
so many of the folder's photographs and prints a line with the images a second. It imports nothing
of this project: some peers have environments of their own (see ``peer_environments``).

Each turn counts images while the peer is in full run, as the worker's are counted: ``warm`` images
go before those that count and as many follow them, so that neither the start of actors and
processes, nor what was prepared ahead of the count, nor the emptying at the end is measured.
All peers have all processors' threads, float32, and their own default settings otherwise.
"""

from __future__ import annotations

import argparse
import io
import itertools
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

NAMES_OF_LABELS = ("cat", "dog", "car", "tree", "house", "bird", "boat", "cup")
LABELS = tuple(f"a photo of a {name}" for name in NAMES_OF_LABELS)
BATCH = 32
REQUESTS = 3
"""In flight at infinity: one that is encoded, one prepared, one in preparation."""
LOADERS = 4
"""Processes that prepare images for clip-retrieval, at most: its default."""
AHEAD = 2
"""Batches that each of them prepares ahead."""


class Peer(Protocol):
    """Classifies files; tells how many of them are done each time that some are."""

    warm: int

    def __call__(self, files: Sequence[bytes]) -> Iterator[int]: ...


class ZeroShotPipeline:
    """transformers' pipeline, as its documentation shows it. It embeds the labels again for every
    batch, and starts nothing in a call, so whole calls count."""

    warm = 0

    def __init__(self, checkpoint: str, batch: int) -> None:
        from transformers import pipeline

        self._batch = batch
        self._pipeline: Any = pipeline(
            "zero-shot-image-classification", model=checkpoint, device="cpu"
        )

    def __call__(self, files: Sequence[bytes]) -> Iterator[int]:
        images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
        answers = self._pipeline(
            images, candidate_labels=list(LABELS), batch_size=self._batch, hypothesis_template="{}"
        )
        yield len(list(answers))


class RayDataModel:
    """The actor of a plain Ray Data job: processor and model on each block."""

    def __init__(self, checkpoint: str, threads: int) -> None:
        from transformers import AutoTokenizer, CLIPModel
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        # Ray gives an actor as many threads as it has processors reserved: one.
        torch.set_num_threads(threads)
        self._model: Any = CLIPModel.from_pretrained(checkpoint)
        self._processor = CLIPImageProcessorPil.from_pretrained(checkpoint)
        tokens = AutoTokenizer.from_pretrained(checkpoint)(
            list(LABELS), padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            self._texts = self._model.get_text_features(**tokens).pooler_output

    def __call__(self, block: dict[str, Any]) -> dict[str, Any]:
        images = [Image.open(io.BytesIO(file)).convert("RGB") for file in block["file"]]
        pixels = self._processor(images, return_tensors="pt")
        with torch.inference_mode():
            vectors = self._model.get_image_features(**pixels).pooler_output
            scores = (vectors @ self._texts.T).softmax(dim=-1)
        return {"scores": scores.numpy()}


class RayData:
    """A plain Ray Data job over files in memory. Each turn is a job, whose actor starts and loads
    the model before the first of its images is done."""

    warm = 2 * BATCH

    def __init__(self, checkpoint: str, threads: int) -> None:
        import ray

        ray.init(num_cpus=threads, include_dashboard=False, log_to_driver=False)
        self._arguments = (checkpoint, threads)

    def __call__(self, files: Sequence[bytes]) -> Iterator[int]:
        import ray.data

        data = ray.data.from_items([{"file": file} for file in files]).map_batches(
            RayDataModel,
            fn_constructor_args=self._arguments,
            batch_size=BATCH,
            compute=ray.data.ActorPoolStrategy(size=1),
        )
        for batch in data.iter_batches(batch_size=None):
            yield len(batch["scores"])


class Infinity:
    """infinity's engine, without its server, under a steady load of requests of ``BATCH`` images;
    the labels are embedded once."""

    warm = REQUESTS * BATCH

    def __init__(self, checkpoint: str) -> None:
        from infinity_emb import EngineArgs, SyncEngineArray

        arguments = EngineArgs(
            model_name_or_path=checkpoint,
            served_model_name="clip",
            engine="torch",
            device="cpu",
            dtype="float32",
            batch_size=BATCH,
        )
        self._engines: Any = SyncEngineArray.from_args([arguments])
        self._texts = self._embedded(
            self._engines.embed(model="clip", sentences=list(LABELS)).result()
        )

    def __call__(self, files: Sequence[bytes]) -> Iterator[int]:
        requests: deque[Any] = deque()
        for begin in range(0, len(files), BATCH):
            if len(requests) == REQUESTS:
                yield self._classified(requests.popleft())
            images = list(files[begin : begin + BATCH])
            requests.append(self._engines.image_embed(model="clip", images=images))
        while requests:
            yield self._classified(requests.popleft())

    def _classified(self, request: Any) -> int:
        return len((self._embedded(request.result()) @ self._texts.T).softmax(dim=-1))

    @staticmethod
    def _embedded(answer: Any) -> torch.Tensor:
        vectors, _ = answer
        return torch.stack([torch.from_numpy(vector) for vector in vectors])


class ClipRetrieval:
    """clip-retrieval's inference over a folder: its reader and its mapper, which its runner calls
    in turn, without the writer; the labels are embedded once."""

    def __init__(self, checkpoint: str, photos: Path, threads: int) -> None:
        from all_clip import load_clip
        from clip_retrieval.clip_inference.mapper import ClipMapper

        self._photos = photos
        self._loaders = min(threads, LOADERS)
        self.warm = self._loaders * AHEAD * BATCH
        name = f"hf_clip:{checkpoint}"
        loaded = {"clip_model": name, "use_jit": False, "warmup_batch_size": BATCH}
        model, self._preprocess, self._tokenizer = load_clip(**loaded, clip_cache_path=None)
        self._mapper: Any = ClipMapper(
            enable_image=True,
            enable_text=False,
            enable_metadata=False,
            use_mclip=False,
            mclip_model="",
            **loaded,
        )
        with torch.inference_mode():
            texts = model.encode_text(self._tokenizer(list(LABELS)))
        self._texts = texts / texts.norm(dim=-1, keepdim=True)

    def __call__(self, files: Sequence[bytes]) -> Iterator[int]:
        from clip_retrieval.clip_inference.reader import FilesReader

        reader = FilesReader(
            # From the folder, as it does: they are in the page cache.
            lambda keys: list(itertools.islice(itertools.cycle(keys), len(files))),
            self._preprocess,
            self._tokenizer,
            self._photos,
            BATCH,
            self._loaders,
            enable_text=False,
        )
        for batch in reader:
            vectors = torch.from_numpy(self._mapper(batch)["image_embs"]).float()
            yield len((vectors @ self._texts.T).softmax(dim=-1))


def peer_of(name: str, checkpoint: str, photos: Path, threads: int) -> Peer:
    if name == "ray_data":
        return RayData(checkpoint, threads)
    if name == "infinity":
        return Infinity(checkpoint)
    if name == "clip_retrieval":
        return ClipRetrieval(checkpoint, photos, threads)
    return ZeroShotPipeline(checkpoint, int(name.removeprefix("pipeline_")))


def rate(
    peer: Peer, files: Iterator[bytes], images: int, now: Callable[[], float] = time.monotonic
) -> float:
    """Images a second of so many images, or of up to a batch more, in full run."""
    given = list(itertools.islice(files, peer.warm + images + peer.warm))
    marks = [(0, now())]
    for count in peer(given):
        marks.append((marks[-1][0] + count, now()))
    if marks[-1][0] != len(given):
        raise RuntimeError(f"the peer answered {marks[-1][0]} of {len(given)} images")
    first, begun = next(mark for mark in marks if mark[0] >= peer.warm)
    last, ended = next(mark for mark in marks if mark[0] >= peer.warm + images)
    return (last - first) / (ended - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("checkpoint")
    parser.add_argument("photos", type=Path)
    parser.add_argument("threads", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # Libraries print what they do: the rates keep the standard output to themselves.
    answers, sys.stdout = sys.stdout, sys.stderr
    peer = peer_of(**vars(arguments))
    files = itertools.cycle(path.read_bytes() for path in sorted(arguments.photos.iterdir()))
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(rate(peer, files, int(line)), file=answers, flush=True)


if __name__ == "__main__":
    main()
