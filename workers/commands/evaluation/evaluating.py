"""Measures a model on a data set, without a label set: zero-shot classification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from pipeline.adapters.samples.reading import read_sample
from pipeline.errors import Halt
from pipeline.evaluation.benchmarks import Benchmark
from pipeline.evaluation.templates import TEMPLATES, Templates
from pipeline.evaluation.zero_shot import Accuracy, accuracy, class_vector, numbered, rank
from pipeline.records import ModelIdentity
from workers.commands.evaluation.embedding import Embedded, embed
from workers.settings.loading import Settings
from workers.stages import load_encoder

SHOWN_CONFUSIONS = 20


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """``names`` are the names of the classes as the prompts have them, in the order of
    ``accuracy.by_class``. ``confusions`` count images by their own class and their best one, the
    most frequent first."""

    model: ModelIdentity
    templates: Templates
    embedded: Embedded
    names: tuple[str, ...]
    accuracy: Accuracy
    confusions: tuple[tuple[str, str, int], ...]


def evaluate_model(
    settings: Settings,
    images: Path,
    templates: Templates,
    names_file: Path | None,
    benchmark: Benchmark | None,
    console: Console,
) -> Evaluated:
    """Embed the images and the classes' prompts with the configured model, and rank the classes.
    Shows progress. Runs an event loop.

    Raises:
        Halt: ``sample.invalid``, ``evaluate.invalid``, or the model cannot be loaded.
    """
    sample = read_sample(images)
    classes = numbered(sample.judged)
    if benchmark is not None and len(classes) != benchmark.classes:
        raise Halt(
            "evaluate.invalid",
            f"{images}: {len(classes)} classes; {benchmark.title} has {benchmark.classes}",
        )
    names = names_of(classes, names_file)
    for image in sample.images:
        if len(image.labels) != 1:
            raise Halt(
                "evaluate.invalid",
                f"{images}: {image.name} has {len(image.labels)} labels; every image needs one",
            )
    encoder = load_encoder(settings)
    # Published figures are those of the centre.
    decode = settings.decode.model_copy(update={"views": "centre"})
    centre = settings.model_copy(update={"decode": decode})
    embedded = embed(centre, encoder, sample, console)
    turns = track(names, "embedding the classes", console=console, transient=True)
    prompts = ([text.replace("{}", name) for text in templates.texts] for name in turns)
    vectors = np.stack([class_vector(encoder.encode_texts(each)) for each in prompts])
    number = {label: place for place, label in enumerate(classes)}
    truth = np.array([number[label] for image in embedded.images for label in image.labels])
    ranked = rank(embedded.embeddings, vectors, truth)
    pairs = Counter(zip(truth.tolist(), ranked.best.tolist(), strict=True))
    return Evaluated(
        encoder.model,
        templates,
        embedded,
        tuple(names),
        accuracy(ranked, truth, len(classes)),
        tuple(
            (names[own], names[best], count)
            for (own, best), count in pairs.most_common()
            if own != best
        )[:SHOWN_CONFUSIONS],
    )


def templates_of(written: str) -> Templates:
    """A set of templates by its name, or from a file with one template on each line.

    Raises:
        Halt: ``evaluate.invalid``.
    """
    if written in TEMPLATES:
        return TEMPLATES[written]
    file = Path(written)
    texts = tuple(_lines(file, f"or write one of: {', '.join(TEMPLATES)}"))
    for text in texts:
        if text.count("{}") != 1:
            what = f"{file}: {text!r} needs {{}} once, for the class's name"
            raise Halt("evaluate.invalid", what)
    if not texts:
        raise Halt("evaluate.invalid", f"{file}: has no template; write one on each line")
    return Templates(str(file), texts)


def names_of(classes: Sequence[str], file: Path | None) -> list[str]:
    """What prompts call the classes: their labels with spaces for underscores, or what a file says.

    A line of the file is a name, in the order of the classes, or a label, a tab and a name.
    """
    if file is None:
        return [each.replace("_", " ") for each in classes]
    lines = _lines(file, "check the path")
    if all("\t" in line for line in lines):
        written = dict(line.split("\t", 1) for line in lines)
        if lacking := [each for each in classes if each not in written]:
            raise Halt("evaluate.invalid", f"{file}: has no name for {', '.join(lacking[:5])}")
        return [written[each].strip() for each in classes]
    if len(lines) != len(classes):
        what = f"{file}: {len(lines)} names for {len(classes)} classes; write one for each"
        raise Halt("evaluate.invalid", what)
    return lines


def _lines(file: Path, remedy: str) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Halt("evaluate.invalid", f"{file}: cannot be read ({error}); {remedy}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
