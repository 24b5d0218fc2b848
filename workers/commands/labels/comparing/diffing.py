"""Compares what two label sets decide about images that were seen before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.backfill.report.samples import SampledObject
from pipeline.errors import Halt
from pipeline.labels.blocks import score_block
from pipeline.labels.comparing import Comparer, Comparison, Reason
from pipeline.labels.label_set import LabelSet
from pipeline.labels.scoring import compile_label_sets
from pipeline.ports import Encoder
from pipeline.records import ModelIdentity
from workers.commands.labels.comparing.published import compare_published
from workers.commands.labels.comparing.sources import (
    EVENTS,
    FoundImage,
    Selection,
    no_embedding,
    open_source,
)
from workers.commands.labels.finding import Prompts
from workers.settings.loading import Settings
from workers.stages import load_for_texts

SAMPLES = 12


class Diff(NamedTuple):
    """What was compared, and what changes. ``images_per_day`` is the rate that counts, None if none
    is known."""

    before: LabelSet
    now: LabelSet
    source: str
    notes: tuple[str, ...]
    model: ModelIdentity
    comparison: Comparison[FoundImage]
    images_per_day: float | None

    def a_day(self, count: int) -> float | None:
        """So many of the images that came in a day."""
        if self.images_per_day is None or not self.comparison.images:
            return None
        return count / self.comparison.images * self.images_per_day

    @property
    def period(self) -> str | None:
        """From when to when the images came."""
        first, last = self.comparison.first_s, self.comparison.last_s
        if first is None or last is None:
            return None
        return f"{_time(first)} to {_time(last)}"

    def values(self) -> dict[str, Any]:
        """What the page needs."""
        return {
            "diff": self,
            "model": self.model,
            "before": self.before,
            "now": self.now,
            "comparison": self.comparison,
            "labels": [each for each in self.comparison.labels if each.gained or each.lost],
            "actions_before": self.before.actions,
            "actions_now": self.now.actions,
        }

    def to_json(self) -> dict[str, Any]:
        found = self.comparison
        return {
            "old": {"name": self.before.name, "version": self.before.version},
            "new": {"name": self.now.name, "version": self.now.version},
            "embeddings": self.source,
            "left_out": list(self.notes),
            "images": found.images,
            "changed": found.changed,
            "images_per_day": self.images_per_day,
            "period": self.period,
            "decisions": [
                {"from": pair[0], "to": pair[1], "images": count, "per_day": self.a_day(count)}
                for pair, count in sorted(found.decisions.items())
            ],
            "labels": [
                {
                    "label": each.label,
                    "matched_before": each.before,
                    "matched_now": each.now,
                    "gained": each.gained,
                    "lost": each.lost,
                }
                for each in found.labels
            ],
            "samples": [
                {
                    "from": pair[0],
                    "to": pair[1],
                    "uri": each.image.uri,
                    "before": _reason(each.before),
                    "now": _reason(each.now),
                }
                for pair, samples in sorted(found.samples.items())
                for each in samples
            ],
        }


def run_diff(
    settings: Settings,
    before: LabelSet,
    now: LabelSet,
    place: str,
    selection: Selection,
    images_per_day: float | None = None,
    load: Callable[[Settings], Encoder] = load_for_texts,
) -> Diff:
    """Compare two label sets on the embeddings of ``place``, or on what the events say. Blocks for
    minutes on a large topic. ``load`` returns the model, for prompts that are not in the cache.

    Raises:
        Halt: as ``compare_published``, ``open_source`` and ``Prompts``; or a label set does not
            fit the model, or an embedding is not finite.
        Retry: the broker does not answer.
    """
    if place == EVENTS:
        found = compare_published(settings, before, now, selection, SAMPLES)
        rate = found.comparison.images_per_day if images_per_day is None else images_per_day
        return Diff(before, now, found.source, found.notes, found.model, found.comparison, rate)
    source = open_source(settings, place, selection)
    texts = Prompts(settings, source.model, load)
    compiled = [
        each
        for label_set in (before, now)
        for each in compile_label_sets([label_set], texts, source.model, override_pin=True)
    ]
    comparer: Comparer[FoundImage] = Comparer(before, now, SAMPLES)
    for block in source.blocks:
        if not np.isfinite(block.vectors).all():
            raise Halt(
                "event.unreadable",
                f"{source.name}: an embedding has values that are not finite; leave it out",
            )
        was, is_now = (score_block(each, block.vectors) for each in compiled)
        comparer.add(was, is_now, block.images, block.times_s)
    comparison = comparer.result()
    if not comparison.images:
        raise no_embedding(source.name, "none is there any more, or events.embeddings is off")
    notes = source.notes
    if source.images is not None and comparison.images < source.images:
        notes += (f"{source.images - comparison.images} images have no embedding on the topic",)
    rate = comparison.images_per_day if images_per_day is None else images_per_day
    return Diff(before, now, source.name, notes, source.model, comparison, rate)


def _reason(reason: Reason) -> dict[str, Any]:
    found = {"label": reason.label, "score": reason.score, "matched": reason.matched}
    return found | {"raised": True} if reason.raised else found


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%MZ")


def pictures(settings: Settings, comparison: Comparison[FoundImage]) -> Mapping[str, str]:
    """Data URIs of the samples' pictures by their URI. Those that cannot be had are left out."""
    from workers.backfill.report.thumbnails import thumbnails

    wanted: list[SampledObject] = [
        each.image.object
        for samples in comparison.samples.values()
        for each in samples
        if each.image.object is not None
    ]
    return {each.uri: picture for each, picture in thumbnails(settings, wanted).items()}


def show_diff(found: Diff, console: Console) -> None:
    """Print what changes."""
    comparison = found.comparison

    def line(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False)

    line(f"old  [bold]{escape(found.before.name)}[/] {found.before.version}")
    line(f"new  [bold]{escape(found.now.name)}[/] {found.now.version}")
    line(f"{comparison.images:,} images of {escape(found.source)}, {found.period or 'no times'}")
    for note in found.notes:
        line(f"[dim]{escape(note)}[/]")
    share = comparison.changed / comparison.images if comparison.images else 0.0
    line(f"{comparison.changed:,} decisions change ({share:.2%})\n")
    if comparison.changes:
        table = Table("from", "to", box=None, pad_edge=False)
        table.add_column("images", justify="right")
        table.add_column("a day", justify="right")
        for (before, now), count in comparison.changes:
            a_day = found.a_day(count)
            told = "unknown" if a_day is None else f"{a_day:,.1f}"
            table.add_row(escape(before), escape(now), f"{count:,}", told)
        console.print(table)
    moved = [each for each in comparison.labels if each.gained or each.lost]
    if moved:
        table = Table("label", box=None, pad_edge=False)
        for name in ("matched", "matches now", "gained", "lost"):
            table.add_column(name, justify="right")
        for each in moved:
            counts = (each.before, each.now, each.gained, each.lost)
            table.add_row(
                escape(each.label), *("-" if count is None else f"{count:,}" for count in counts)
            )
        console.print()
        console.print(table)
