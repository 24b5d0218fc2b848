"""Makes references of recorded embeddings, and compares embeddings with a reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.adapters.label_files import load_label_sets
from pipeline.drift.collecting import Collected, Collector, Moved, moved
from pipeline.drift.distance import counted, excess
from pipeline.drift.reference import ModelReference, Reference, SetReference
from pipeline.errors import Halt
from pipeline.labels.blocks import score_block
from pipeline.labels.label_set import LabelSet
from pipeline.labels.scoring import compile_label_sets
from pipeline.ports import Encoder
from pipeline.records import ModelIdentity
from workers.commands.labels.comparing.sources import Selection, Source, open_source
from workers.commands.labels.finding import Prompts, require_same
from workers.settings.loading import Settings
from workers.stages import load_for_texts


@dataclass(frozen=True, slots=True)
class Where:
    """Which recorded images: a place as for ``open_source``, and their window."""

    place: str
    since: datetime | None
    until: datetime | None
    newest: int

    def of(self, label_set: LabelSet) -> Selection:
        return Selection(label_set.name, self.since, self.newest, self.until)


@dataclass(frozen=True, slots=True)
class Measured:
    """One label set on the images that it has scored."""

    label_set: LabelSet
    source: Source
    collected: Collected
    window: tuple[str | None, str | None]


def measure(
    settings: Settings,
    label_set: LabelSet,
    where: Where,
    load: Callable[[Settings], Encoder] = load_for_texts,
) -> Measured:
    """Score the embeddings of a window. Blocks for minutes on a large topic.

    Raises:
        Halt: as ``open_source`` and ``Prompts``; or the label set does not fit the model.
        Retry: the broker does not answer.
    """
    source = open_source(settings, where.place, where.of(label_set))
    texts = Prompts(settings, source.model, load)
    (compiled,) = compile_label_sets([label_set], texts, source.model, override_pin=True)
    collector = Collector()
    first, last = math.inf, -math.inf
    for block in source.blocks:
        scored = score_block(compiled, block.vectors)
        decisions = (label_set.actions[place] for place in scored.decisions.tolist())
        collector.add(scored.scores, decisions, block.vectors)
        known = block.times_s[np.isfinite(block.times_s)]
        if len(known):
            first, last = min(first, float(known.min())), max(last, float(known.max()))
    collected = collector.result()
    if collected is None:
        raise Halt(
            "label_set.no_embeddings",
            f"{source.name}: no embedding of the images that {label_set.name} has scored; choose "
            "another window",
        )
    window = (_time(first), _time(last)) if first <= last else (None, None)
    return Measured(label_set, source, collected, window)


def make_reference(
    settings: Settings,
    where: Where,
    console: Console,
    load: Callable[[Settings], Encoder] = load_for_texts,
) -> Reference:
    """The reference of each label set of ``label_sets.paths``. A set that has scored no image is
    left out, and named.

    Raises:
        Halt: as ``measure``; or no set has scored an image, or two were scored by two models.
        Retry: the broker does not answer.
    """
    made: list[SetReference] = []
    model: ModelIdentity | None = None
    missing: Halt | None = None
    for label_set in load_label_sets(settings.label_sets.paths):
        try:
            found = measure(settings, label_set, where, load)
        except Halt as halt:
            if halt.code != "label_set.no_embeddings":
                raise
            missing = halt
            console.print(f"[yellow]left out:[/] {escape(halt.message)}", soft_wrap=True)
            continue
        if model is not None:
            require_same(found.source.model, model)
        model = found.source.model
        reference = found.collected.reference(
            [label.name for label in label_set.labels],
            name=label_set.name,
            version=label_set.version,
            source=found.source.name,
            window=found.window,
        )
        made.append(reference)
        _say(console, reference, len(label_set.labels))
    if model is None:
        raise missing or Halt("label_set.none", "label_sets.paths: no label set is configured")
    named = ModelReference(name=model.name, revision=model.revision)
    return Reference(model=named, label_sets=tuple(made))


def _say(console: Console, reference: SetReference, labels: int) -> None:
    period = f"{reference.first} to {reference.last}" if reference.first else "no times"
    text = (
        f"{reference.name} {reference.version}\n"
        f"{reference.images:,} images of {reference.source}, {period}\n"
        f"{len(reference.labels)} of {labels} labels"
    )
    console.print(escape(text), soft_wrap=True, highlight=False)


def read_reference(file: Path) -> Reference:
    """
    Raises:
        Halt: ``drift.invalid``.
    """
    try:
        text = file.read_bytes()
    except OSError as error:
        raise Halt(
            "drift.invalid",
            f"{file}: cannot be read ({error.strerror}); write it with `clipstream drift "
            "reference`",
        ) from error
    return Reference.read(text, str(file))


@dataclass(frozen=True, slots=True)
class Drifted:
    """How far the images of now are from a label set's reference. ``labels`` has the population
    stability index of each label beyond chance, largest first."""

    reference: SetReference
    now: Measured
    labels: Sequence[tuple[str, float]]
    embeddings: Moved


def compare_with(
    settings: Settings,
    reference: Reference,
    where: Where,
    load: Callable[[Settings], Encoder] = load_for_texts,
) -> list[Drifted]:
    """Compare the images of a window with the reference of each label set of ``label_sets.paths``.

    Raises:
        Halt: as ``measure``; or ``drift.invalid``: the reference does not fit a label set.
        Retry: the broker does not answer.
    """
    found = []
    for label_set in load_label_sets(settings.label_sets.paths):
        now = measure(settings, label_set, where, load)
        why = reference.unfit(label_set.name, label_set.version, now.source.model)
        if why is not None:
            raise Halt(
                "drift.invalid",
                f"label set {label_set.name} {label_set.version}: the reference {why}; write it "
                "anew with `clipstream drift reference`",
            )
        before = reference.of(label_set.version)
        labels = [
            (
                each.name,
                excess(each.counts, counted(now.collected.scores[:, place], np.array(each.edges))),
            )
            for place, each in enumerate(before.labels)
        ]
        apart = moved(before, now.collected.mean, now.collected.spread)
        labels.sort(key=lambda each: -each[1])
        found.append(Drifted(before, now, labels, apart))
    return found


def show_drift(found: Drifted, most: int, console: Console) -> None:
    """Print the ``most`` labels that have drifted most, decisions and embeddings."""

    def line(text: str) -> None:
        console.print(escape(text), soft_wrap=True, highlight=False)

    before, now = found.reference, found.now
    line(f"{before.name} {before.version}")
    line(f"{now.collected.images:,} images of {now.source.name}, against {before.images:,}")
    table = Table("label", box=None, pad_edge=False)
    table.add_column("PSI beyond chance", justify="right")
    for label, value in found.labels[:most]:
        table.add_row(escape(label), f"{value:.3f}")
    console.print(table)
    table = Table("decision", box=None, pad_edge=False)
    table.add_column("reference", justify="right")
    table.add_column("now", justify="right")
    for action in now.label_set.actions:
        shares = (
            before.decisions.get(action, 0) / before.images,
            now.collected.decisions[action] / now.collected.images,
        )
        table.add_row(escape(action), *(f"{share:.1%}" for share in shares))
    console.print(table)
    apart = found.embeddings
    line(
        f"embeddings: mean moved by {apart.spreads:.3f} of the spread (cosine {apart.cosine:.4f}), "
        f"spread {apart.spread:.3f} times the reference's"
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
