"""`clipstream labels check`: check label sets before a worker loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.adapters.clip.policy import ModelPolicy
from pipeline.adapters.label_files import load_label_sets
from pipeline.errors import Halt
from pipeline.labels.label_set import (
    Decision,
    Label,
    LabelSet,
    LabelSetsPolicy,
    ReviewIf,
    Threshold,
)
from pipeline.labels.learnt.calibration import Platt
from pipeline.labels.learnt.head import Head
from pipeline.labels.pins import check_pins
from pipeline.labels.scoring import EncodeTexts
from pipeline.ports import PromptTokens
from workers.commands.labels.wordings.telling import show_alike
from workers.commands.options import Config, Set, read
from workers.settings.loading import Settings, validated_section
from workers.settings.sources import Given

SHOWN_PROMPTS = 3
MODEL_KEYS = ("name", "revision", "directory")
"""Settings that choose the model."""


def check(
    files: Annotated[
        list[Path],
        typer.Argument(help="YAML files with one label set each, or folders of such files."),
    ],
    config: Config = None,
    overrides: Set = None,
    alike: Annotated[
        bool,
        typer.Option(
            "--alike",
            help="Also load the model, and warn of labels whose prompts are nearly the same to it.",
        ),
    ] = False,
) -> None:
    """Check label sets together, as a worker loads them, and show their contents.

    Prompts are checked with the tokenizer of the configured model if it is on this machine
    (model.directory, or the hub's cache). The last line says whether it is. Nothing is downloaded.
    If the settings choose a model, the pins of the label sets are compared with it.

    If anything is wrong, the command prints every problem as file:line: message and exits with 1.
    """
    given = read(config, overrides, {})
    model = validated_section(given, "model", ModelPolicy)
    policy = validated_section(given, "label_sets", LabelSetsPolicy)
    tokens, coverage = _tokens(model)
    try:
        label_sets = load_label_sets(files, tokens)
        if _names_a_model(given) and any(label_set.model for label_set in label_sets):
            check_pins(label_sets, model.name, _revision(model), policy.override_model_pin)
    except Halt as invalid:
        typer.echo(invalid.message, err=True)
        raise typer.Exit(1) from invalid
    console = Console()
    encode_texts = _encode_texts(model, policy) if alike else None
    for label_set in label_sets:
        show_label_set(label_set, console)
        if encode_texts is not None:
            show_alike(label_set, encode_texts, console)
    console.print(coverage, soft_wrap=True)


def _names_a_model(given: Given) -> bool:
    """Whether the settings are a deployment's. Without any settings, the default model is only a
    guess."""
    from_file = any(source.origin == "file" for source in given.sources.values())
    return from_file or any(f"model.{key}" in given.sources for key in MODEL_KEYS)


def _tokens(model: ModelPolicy) -> tuple[PromptTokens | None, str]:
    """The configured model's tokenizer, if it is on this machine, and a line that says so."""
    # Imported here because the hub's client and transformers take seconds to import, and no other
    # command needs them.
    from pipeline.adapters.clip.checkpoint import tokenizer_files

    try:
        checkpoint = tokenizer_files(
            model.name, model.revision, model.directory, cache_directory=model.cache_directory
        )
    except Halt as lacking:
        return None, (
            f"[yellow]prompts not checked with a tokenizer:[/] {escape(lacking.message)}. A worker "
            "also refuses prompts with too many tokens, and labels whose prompts the model cannot "
            "tell apart"
        )
    from pipeline.adapters.clip.tokenizer import read_tokens

    told = f"[dim]prompts checked with the tokenizer of {escape(checkpoint.name)}[/]"
    return read_tokens(checkpoint), told


def _encode_texts(model: ModelPolicy, policy: LabelSetsPolicy) -> EncodeTexts:
    """Embeds prompts with the model, or takes them from the cache."""
    # Imported here because torch and transformers take seconds to import.
    from pipeline.adapters.clip.text_cache import cached
    from workers.stages import load_for_texts

    encoder = load_for_texts(Settings(model=model, label_sets=policy))
    return cached(encoder.encode_texts, encoder.model, policy.text_cache_dir)


def _revision(model: ModelPolicy) -> str:
    """The revision that a worker would name."""
    from pipeline.adapters.clip.checkpoint import from_directory

    if model.directory is None:
        return model.revision
    return from_directory(model.name, model.directory).revision


def show_label_set(label_set: LabelSet, console: Console) -> None:
    """Print what a label set says: its facts, a table of its labels, and advice."""
    independent = label_set.decision is Decision.INDEPENDENT and label_set.head is None
    console.print(_summary(label_set), soft_wrap=True)  # a version must not be broken in two
    table = Table()
    table.add_column("label", style="bold", overflow="fold")
    prompted = label_set.head is None
    if prompted:
        table.add_column("prompts", overflow="fold")
    if independent:
        table.add_column("against", overflow="fold")
    table.add_column("review from", no_wrap=True)
    table.add_column("act from", no_wrap=True)
    covering = any(label.categories for label in label_set.labels)
    if covering:
        table.add_column("category", overflow="fold")
    calibrated = any(label.calibration for label in label_set.labels)
    if calibrated:
        table.add_column("calibration", no_wrap=True)
    for label in label_set.labels:
        contrast = [_texts(label.contrast)] if independent else []
        covered = [", ".join(label.categories)] if covering else []
        learnt = [_calibration(label)] if calibrated else []
        cells = (*contrast, *_thresholds(label), *covered, *learnt)
        prompts = [_texts(label.prompts)] if prompted else []
        table.add_row(escape(label.name), *prompts, *cells)
    console.print(table)
    for advice in label_set.advice():
        console.print(f"[yellow]advice:[/] {escape(advice)}", soft_wrap=True)
    console.print()


def _summary(label_set: LabelSet) -> str:
    pin = label_set.model
    prompts = sum(len(label.prompts) for label in label_set.labels)
    facts = {
        "decision": label_set.decision.value,
        "actions": " > ".join(label_set.actions),
        "default": label_set.default_action,
        "unclassified": label_set.unclassified_action,
        **({"shadow": "scored and published, counts in nothing"} if label_set.shadow else {}),
        "seen in part": _seen_in_part(label_set.review_if),
        "model": f"{pin.name} at {pin.revision}" if pin else "any",
        "labels": f"{len(label_set.labels)}, of {prompts} prompts",
        **({"head": _head(head)} if (head := label_set.head) else {}),
        "version": label_set.version,
    }
    lines = [f"[dim]{name:<13}[/]{escape(value)}" for name, value in facts.items()]
    return "\n".join([f"[bold]{escape(label_set.name)}[/]", *lines])


def _head(head: Head) -> str:
    layers = f"{len(head.layers)} layer{'s' if len(head.layers) > 1 else ''}"
    return f"{layers}, weights of SHA-256 {head.sha256}"


def _seen_in_part(review_if: ReviewIf | None) -> str:
    """What becomes of an image of which the model sees only a part."""
    if review_if is None:
        return "as any other"
    conditions = []
    if review_if.cropped_share is not None:
        conditions.append(f"{review_if.cropped_share:g} of the area cropped")
    if review_if.frames is not None:
        conditions.append(f"{review_if.frames} frames")
    return f"{review_if.action}, from {' or '.join(conditions)}"


def _thresholds(label: Label) -> tuple[str, str]:
    if label.neutral:
        return ("[dim]neutral[/]", "[dim]neutral[/]")
    return (_threshold(label.review), _threshold(label.act))


def _threshold(threshold: Threshold | None) -> str:
    if threshold is None:
        return "[dim]never[/]"
    return f"{threshold.score:g} [cyan]{escape(threshold.action)}[/]"


def _calibration(label: Label) -> str:
    if label.calibration is None:
        return "[dim]none[/]"
    return "platt" if isinstance(label.calibration, Platt) else "isotonic"


def _texts(texts: tuple[str, ...]) -> str:
    shown = [escape(text) for text in texts[:SHOWN_PROMPTS]]
    if len(texts) > SHOWN_PROMPTS:
        shown.append(f"[dim]and {len(texts) - SHOWN_PROMPTS} more[/]")
    return "\n".join(shown)
