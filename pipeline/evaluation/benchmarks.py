"""Figures that others have published for data sets that anybody can get."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """Zero-shot accuracy in per cent; ``top_5`` is None where it was not published."""

    model: str
    templates: str
    top_1: float
    top_5: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A data set, and where the names of its classes and its templates are published."""

    title: str
    classes: int
    names: str
    figures: tuple[Published, ...]


_NOTEBOOK = "openai/CLIP, notebooks/Prompt_Engineering_for_ImageNet.ipynb"
_RESULTS = "open_clip, docs/openclip_results.csv"
_MODEL = "openai ViT-B/32"
_PROMPTS = "openai/CLIP, data/prompts.md"

BENCHMARKS = {
    "imagenet": Benchmark(
        "ImageNet, validation",
        1_000,
        _NOTEBOOK,
        (Published(_MODEL, "openai-imagenet-80", 63.3, None, _RESULTS),),
    ),
    "imagenetv2": Benchmark(
        "ImageNetV2, matched frequency",
        1_000,
        _NOTEBOOK,
        (
            Published(_MODEL, "openai-imagenet-80", 55.7, 83.4, _NOTEBOOK),
            Published(_MODEL, "openai-imagenet-80", 55.9, None, _RESULTS),
        ),
    ),
    "cifar10": Benchmark(
        "CIFAR-10, test",
        10,
        _PROMPTS,
        (Published(_MODEL, "those of data/prompts.md", 89.8, None, _RESULTS),),
    ),
    "cifar100": Benchmark(
        "CIFAR-100, test",
        100,
        _PROMPTS,
        (Published(_MODEL, "those of data/prompts.md", 64.2, None, _RESULTS),),
    ),
}
