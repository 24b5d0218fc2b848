"""Trains the demo's CLIP from scratch, on generated images of coloured shapes.

``python -m workers.demo.train --output DIRECTORY`` writes an ordinary ``CLIPModel`` checkpoint,
with its measured accuracy. Training uses one thread, so that the same machine repeats it bit by
bit. On another machine the last digits differ.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.progress import track
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
from pipeline.records import ImageGeometry
from workers.demo.accuracy import MAX_LOGIT_SCALE, Measurement, decoded
from workers.demo.shapes import COLOURS, LABELS, NOTHING, SHAPES, demo_images

MODEL_DIRECTORY = Path(__file__).with_name("model")
_CARD_TEMPLATE = "model-card.md.jinja"

START, END = "<|startoftext|>", "<|endoftext|>"
MAX_TOKENS = 32
IMAGE_PX, PATCH_PX = 32, 8
IMAGE_WIDTH, TEXT_WIDTH, SHARED_WIDTH = 96, 64, 64
# CLIP's own values, so that the checkpoint differs from the published ones only in its size.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

TEMPLATES = ("{}", "a picture of {}", "an image of {}", "a photo of {}", "a drawing of {}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights. The seeds differ, so that no image is seen twice."""

    seed: int = 1
    calibration_seed: int = 2
    held_out_seed: int = 3
    training_images: int = 30_000
    calibration_images: int = 980
    held_out_images: int = 1_960
    # Small originals are quick to draw, and the model sees 32 pixels of them anyway.
    training_side_px: tuple[int, int] = (64, 256)
    steps: int = 5_000
    batch: int = 64
    peak_learning_rate: float = 1.5e-3
    warm_up_steps: int = 100
    weight_decay: float = 0.05


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a recipe. ``accuracy`` and ``calibration_error`` (0 to 1) are measured on the
    held-out images."""

    accuracy: float
    calibration_error: float
    logit_scale: float
    parameters: int


_UNANSWERABLE = -100  # cross_entropy's own mark of targets that do not count


@dataclass(frozen=True, slots=True)
class Question:
    """A question about an image: phrases to choose from, and which is right for each label."""

    phrases: tuple[str, ...]
    answers: torch.Tensor


def questions() -> tuple[Question, ...]:
    """Questions for the label itself, for its colour, and for its shape. The latter two make the
    model read its prompts: it tells "a circle" from "a square" although neither is a label."""

    def answers(index: list[int]) -> torch.Tensor:
        return torch.tensor([*index, _UNANSWERABLE])

    pairs = list(itertools.product(range(len(COLOURS)), range(len(SHAPES))))
    return (
        Question(tuple(map(_phrase, LABELS)), torch.arange(len(LABELS))),
        Question(
            tuple(_phrase(f"{colour} shape") for colour in COLOURS),
            answers([colour for colour, _ in pairs]),
        ),
        Question(tuple(map(_phrase, SHAPES)), answers([shape for _, shape in pairs])),
    )


def _phrase(name: str) -> str:
    if name == NOTHING:
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def corpus() -> list[str]:
    """Every caption in every template."""
    phrases = [phrase for question in questions() for phrase in question.phrases]
    return [template.format(phrase) for phrase in phrases for template in TEMPLATES]


def build_tokenizer(texts: Sequence[str]) -> CLIPTokenizer:
    """CLIP's byte-level pair encoding, with merges learned only from ``texts``. Every word in them
    is one token, and any other text is spelled out in bytes."""
    blank = CLIPTokenizer()
    trained = Tokenizer(BPE(end_of_word_suffix="</w>"))
    trained.normalizer = blank.backend_tokenizer.normalizer
    trained.pre_tokenizer = blank.backend_tokenizer.pre_tokenizer
    trainer = BpeTrainer(
        vocab_size=10_000,  # more than there are merges: it stops when every word is whole
        show_progress=False,
        initial_alphabet=ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
    )
    trained.train_from_iterator(texts, trainer)
    merges: Any = [tuple(merge) for merge in json.loads(trained.to_str())["model"]["merges"]]
    letters = sorted(ByteLevel.alphabet())
    # The order of the published vocabulary. Every byte is in it also as the end of a word.
    # Otherwise an unknown byte would become the end token and cut the prompt.
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), START, END]
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,
        model_max_length=MAX_TOKENS,
    )


def build_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Two small towers with random weights, drawn from torch's global generator."""
    config = CLIPConfig(
        projection_dim=SHARED_WIDTH,
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": TEXT_WIDTH,
            "intermediate_size": 2 * TEXT_WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": MAX_TOKENS,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "image_size": IMAGE_PX,
            "patch_size": PATCH_PX,
            "hidden_size": IMAGE_WIDTH,
            "intermediate_size": 2 * IMAGE_WIDTH,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
        },
    )
    model = CLIPModel(config)
    # With CLIP's faint random positions, a tower takes long to learn where a patch stands. Started
    # from waves of the position, it gets equally far with half the images.
    with torch.no_grad():
        model.vision_model.embeddings.position_embedding.weight[1:] = _waves(
            IMAGE_PX // PATCH_PX, IMAGE_WIDTH
        )
    return model


def _waves(side: int, width: int) -> torch.Tensor:
    """[side x side, width]: sines and cosines of rising frequency along both axes."""
    place = torch.linspace(-math.pi, math.pi, side)
    down, across = torch.meshgrid(place, place, indexing="ij")
    frequencies = torch.linspace(0.5, 2, width // 4)
    phases = [axis.flatten()[:, None] * frequencies for axis in (down, across)]
    return 0.5 * torch.cat([wave(phase) for phase in phases for wave in (torch.sin, torch.cos)], 1)


def train(model: CLIPModel, tokenizer: CLIPTokenizer, recipe: Recipe) -> None:
    """Contrast each image of a batch with every caption of each question.

    This is CLIP's training with one difference: captions repeat, so each appears once among the
    candidates and not once for each image.
    """
    images, labels = _training_data(recipe)
    rng = torch.Generator().manual_seed(recipe.seed)
    asked = questions()
    captions = [[_tokens(tokenizer, each, template) for template in TEMPLATES] for each in asked]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.peak_learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _learning_rate(recipe))
    batches = _batches(len(images), recipe.batch, rng)
    model.train()
    for _ in track(range(recipe.steps), "training"):
        chosen = next(batches)
        seen = model.get_image_features(
            pixel_values=_turned(_normalised(images[chosen]), rng)
        ).pooler_output
        seen = functional.normalize(seen, dim=-1)
        loss = torch.zeros(())
        for question, templates in zip(asked, captions, strict=True):
            ids, mask = templates[int(torch.randint(len(templates), (), generator=rng))]
            read = model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
            read = functional.normalize(read, dim=-1)
            logits = model.logit_scale.exp() * seen @ read.T
            loss = loss + functional.cross_entropy(logits, question.answers[labels[chosen]])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(MAX_LOGIT_SCALE))
    model.eval()  # type: ignore[no-untyped-call]


def _training_data(recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels as the decoder delivers them, uint8 [images, side, side, 3], and label numbers
    [images]."""
    drawn = demo_images(recipe.seed, recipe.training_images, recipe.training_side_px)
    labels: list[int] = []

    def bodies() -> Iterator[bytes]:
        for image in track(drawn, "drawing", total=recipe.training_images):
            labels.append(LABELS.index(str(image.truth)))
            yield image.body

    pixels = torch.from_numpy(decoded(bodies(), ImageGeometry(IMAGE_PX, IMAGE_PX)))
    return pixels, torch.tensor(labels)


def _tokens(
    tokenizer: CLIPTokenizer, question: Question, template: str
) -> tuple[torch.Tensor, torch.Tensor]:
    filled = [template.format(phrase) for phrase in question.phrases]
    tokens = tokenizer(filled, padding=True, return_tensors="pt")
    return tokens["input_ids"], tokens["attention_mask"]


def _batches(count: int, size: int, rng: torch.Generator) -> Iterator[torch.Tensor]:
    """An endless sequence of image numbers: each image once in an epoch, in a new order."""
    while True:
        yield from torch.randperm(count, generator=rng)[: count // size * size].view(-1, size)


def _normalised(pixels: torch.Tensor) -> torch.Tensor:
    """float32 [batch, 3, side, side], as the checkpoint's preprocessor_config.json says."""
    return ((pixels / 255 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)


def _turned(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """A batch turned by quarters and mirrored at random, which changes no label."""
    quarters, mirror = divmod(int(torch.randint(8, (), generator=rng)), 2)
    turned = torch.rot90(images, quarters, (2, 3))
    return turned.flip(3) if mirror else turned


def _learning_rate(recipe: Recipe) -> Callable[[int], float]:
    """Share of the peak: a linear rise, then half a cosine."""

    def share(step: int) -> float:
        rise = min(1.0, (step + 1) / recipe.warm_up_steps)
        return rise * (1 + math.cos(math.pi * step / recipe.steps)) / 2

    return share


def finish(model: CLIPModel, directory: Path, recipe: Recipe) -> Result:
    """Save the network with its tokenizer, calibrate its logit scale and measure it, each on
    separate images.

    Contrastive training leaves a network too sure of itself. The scale is set so that the truths of
    the calibration images are most likely: a score of 0.9 is then right 9 times in 10.
    """
    model.save_pretrained(directory)
    (directory / "preprocessor_config.json").write_text(
        json.dumps(_preprocessor(), indent=2) + "\n"
    )
    policy = ModelPolicy(directory=directory, device="cpu", precision="fp32", threads=1)

    def measured(seed: int, count: int, activity: str) -> Measurement:
        images = track(demo_images(seed, count), activity, total=count)
        return Measurement.of(ClipEncoder.load(policy), images)

    calibration = measured(recipe.calibration_seed, recipe.calibration_images, "calibrating")
    with torch.no_grad():
        model.logit_scale.fill_(math.log(calibration.best_logit_scale()))
    model.save_pretrained(directory)
    held_out = measured(recipe.held_out_seed, recipe.held_out_images, "measuring")
    scale = model.logit_scale.exp().item()
    return Result(
        accuracy=held_out.accuracy,
        calibration_error=held_out.calibration_error(scale),
        logit_scale=scale,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


def _preprocessor() -> dict[str, Any]:
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": IMAGE_PX},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": IMAGE_PX, "width": IMAGE_PX},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": MEAN,
        "image_std": STD,
    }


def write_record(directory: Path, recipe: Recipe, result: Result, cpu_s: float) -> None:
    """Write next to the weights how they were made and what they achieve, for programs and for
    people."""
    record = {
        "recipe": asdict(recipe),
        "result": asdict(result),
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy", "pillow")},
    }
    (directory / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    # Markdown of our own words only, so nothing needs escaping.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    card = environment.get_template(_CARD_TEMPLATE).render(
        record,
        labels=len(LABELS),
        side=IMAGE_PX,
        patch=PATCH_PX,
        shared=SHARED_WIDTH,
        tokens=MAX_TOKENS,
        cpu_minutes=cpu_s / 60,
    )
    (directory / "MODEL.md").write_text(card)


def main(
    output: Annotated[
        Path, typer.Option(help="Directory of the checkpoint; made if missing, else replaced.")
    ] = MODEL_DIRECTORY,
    seed: Annotated[
        int, typer.Option(help="Of the weights and the training images.")
    ] = Recipe().seed,
) -> None:
    """Train the demo's model and measure it: some fifteen minutes of one processor."""
    recipe = Recipe(seed=seed)
    output.mkdir(parents=True, exist_ok=True)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    tokenizer = build_tokenizer(corpus())
    # Before its first use, because the tokenizer would save the padding that it was last asked for.
    tokenizer.save_pretrained(output)
    model = build_model(tokenizer)
    train(model, tokenizer, recipe)
    result = finish(model, output, recipe)
    write_record(output, recipe, result, cpu_s=time.process_time())
    print(
        f"{output}: accuracy {result.accuracy:.4f} on {recipe.held_out_images} held-out images, "
        f"calibration error {result.calibration_error:.4f}"
    )


if __name__ == "__main__":
    typer.run(main)
