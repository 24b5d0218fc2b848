"""Derives an event's scores and decisions again, step by step, from what a person gives."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.adapters.kafka.recorded.events import (
    classification_of,
    embedding_of,
    position_of,
    record_at,
)
from pipeline.errors import Halt
from pipeline.events.published import (
    ClassificationEvent,
    EmbeddingEvent,
    as_text,
    contradictions,
)
from pipeline.labels.explaining import TOLERANCE, Explanation, LabelSteps, explain
from pipeline.labels.scoring import compile_label_sets
from pipeline.records.known import KnownMatch
from workers.commands.labels.finding import Prompts, of_version
from workers.settings.loading import Settings

_NOT_AT_HAND = ("label_set.unknown", "label_set.unproven", "label_set.another_model")


class Given(NamedTuple):
    """The event, and when it was published, if that is known."""

    event: ClassificationEvent
    at_ms: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Explained:
    """Every label set's derivation. ``engine`` embedded prompts here, None if all were cached.
    ``differences`` are all that does not match; none if everything does."""

    event: ClassificationEvent
    explanations: tuple[Explanation, ...]
    engine: str | None
    differences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "uri": self.event.uri,
            "model": dataclasses.asdict(self.event.model),
            "prompts_embedded_by": self.engine,
            "matches": [dataclasses.asdict(each) for each in self.event.matches],
            "results": [dataclasses.asdict(each) for each in self.explanations],
            "differences": list(self.differences),
        }


def run_explain(
    settings: Settings,
    event: ClassificationEvent,
    embedding: EmbeddingEvent,
    files: list[Path],
    tolerance: float = TOLERANCE,
) -> Explained:
    """Derive every result of the event. ``files`` are as for ``of_version``.

    A label set or a model that is not at hand is among the differences.

    Raises:
        Halt: a given file is not valid, or the model cannot be loaded.
    """
    differences = contradictions(event, embedding)
    if len(embedding.vector) != event.model.dimension:
        return Explained(event, (), None, tuple(differences))
    texts = Prompts(settings, event.model)
    explanations = []
    for result in event.results:
        try:
            label_set = of_version(settings, files, result.version)
            (compiled,) = compile_label_sets([label_set], texts, event.model, override_pin=True)
        except Halt as lacking:
            if lacking.code not in _NOT_AT_HAND:
                raise
            differences.append(f"label set {result.label_set!r}: {lacking.message}")
            continue
        if label_set.name != result.label_set:
            differences.append(
                f"label set {result.label_set!r}: the version that the event names is one of "
                f"{label_set.name!r}"
            )
        looked = event.looked(embedding.vector)
        explanation = explain(compiled, texts, looked, result, tolerance, event.matches)
        differences += explanation.differences
        explanations.append(explanation)
    return Explained(event, tuple(explanations), texts.engine, tuple(differences))


def given_event(settings: Settings, text: str) -> Given:
    """The event at a position, in a file, or on standard input.

    Raises:
        Halt: ``event.unreadable``; or the topic cannot be read.
        Retry: the broker does not answer.
    """
    position = position_of(text)
    if position is not None:
        record = record_at(settings.kafka, position)
        return Given(classification_of(record), record.timestamp_ms)
    try:
        body = sys.stdin.read() if text == "-" else Path(text).read_text(encoding="utf-8")
        document = json.loads(body)
    except (OSError, ValueError) as error:
        raise Halt(
            "event.unreadable",
            f"{text}: cannot be read as one JSON document ({error}); name a file with one event, "
            "or TOPIC[PARTITION]@OFFSET",
        ) from error
    if not isinstance(document, dict):
        raise Halt("event.unreadable", f"{text}: is no JSON object; name a file with one event")
    return _of_document(document)


def _of_document(document: dict[str, Any]) -> Given:
    """An event's value; a record as `kcat -J` prints it, or with `value` and `headers` by name; or
    the console's whole event."""
    if isinstance(document.get("data"), dict):
        own_id = document.get("id")
        headers = {"ce_id": own_id} if isinstance(own_id, str) else {}
        return Given(ClassificationEvent.of(document["data"], headers), None)
    value = document.get("payload", document.get("value"))
    if value is None:
        return Given(ClassificationEvent.of(document, {}), None)
    try:
        value = json.loads(value) if isinstance(value, str) else value
        headers = _headers(document.get("headers"))
    except ValueError as error:
        raise Halt(
            "event.unreadable",
            f"the record's value is no JSON, or its headers are no pairs ({error}); give the "
            "record as `kcat -J` prints it",
        ) from error
    at_ms = document.get("ts")
    return Given(ClassificationEvent.of(value, headers), at_ms if isinstance(at_ms, int) else None)


def _headers(given: Any) -> dict[str, str]:
    """Headers by name, or names and values in turn."""
    if isinstance(given, dict):
        return {str(name): str(value) for name, value in given.items()}
    flat = given if isinstance(given, list) else []
    return {str(name): str(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}


def given_embedding(settings: Settings, given: Given, text: str | None) -> EmbeddingEvent:
    """The embedding at a position, in a file, or that of the event's id on the topic.

    Raises:
        Halt, Retry: as ``given_event``.
    """
    event = given.event
    if text is not None:
        position = position_of(text)
        if position is not None:
            record = record_at(settings.kafka, position)
            return EmbeddingEvent.of(record.value or b"", as_text(record.headers))
        try:
            return EmbeddingEvent.of(Path(text).read_bytes(), {}, event.model.dimension)
        except OSError as error:
            raise Halt(
                "event.unreadable", f"{text}: cannot be read ({error.strerror}); check the name"
            ) from error
    if event.id is None:
        raise Halt(
            "event.unreadable",
            "the event's id is not known, because its headers were not given; name its embedding "
            "with --embedding, or give TOPIC[PARTITION]@OFFSET",
        )
    found = embedding_of(settings.kafka, event.id, given.at_ms)
    if found is None:
        raise Halt(
            "event.unreadable",
            f"{settings.kafka.output_topics.embeddings}: has no embedding of event {event.id}; it "
            "was deleted by the topic's retention, or events.embeddings was off: give it with "
            "--embedding",
        )
    return found


def show_explained(
    explained: Explained, console: Console, most: int | None, *, with_prompts: bool
) -> None:
    """Print each label set's derivation with its ``most`` best labels, None: all."""
    event, model = explained.event, explained.event.model

    def line(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False)

    line(f"[bold]{escape(event.uri or 'image')}[/]")
    line(f"embedded by {escape(model.name)} at {escape(model.revision)}, {escape(model.engine)}")
    line(f"prompts: {'from the cache' if explained.engine is None else explained.engine}")
    for match in event.matches:
        line(
            f"known: list [bold]{escape(match.known_list)}[/] has the picture ({_nearness(match)}) "
            f"and calls for {match.action!r}"
        )
    line("")
    for each in explained.explanations:
        line(f"[bold]{escape(each.label_set)}[/] {each.version}")
        shown = _best(each, most)
        console.print(_table(each, shown))
        if len(shown) < len(each.labels):
            line(f"[dim]{len(each.labels) - len(shown)} more labels score less; see --all[/]")
        if with_prompts:
            for label in shown:
                line(f"  [bold]{escape(label.label)}[/]")
                for step in label.prompts:
                    line(f"  {step.cosine:+.6f}  {escape(step.prompt)}")
        line(f"decision [bold]{escape(each.decision)}[/]: {escape(each.rule)}")
        line(f"largest difference of a score from the event's: {each.largest_difference:.1e}\n")
    for difference in explained.differences:
        line(f"[red]does not match:[/] {escape(difference)}")
    if not explained.differences:
        line("[green]everything matches the event[/]")


def _nearness(match: KnownMatch) -> str:
    """How near a list's entry is, as the event says."""
    near = f"{match.kind}, entry {match.entry}"
    if match.distance is not None:
        near += f", {match.distance} of 256 bits differ"
    if match.cosine is not None:
        near += f", cosine {match.cosine:.6f}"
    return escape(near)


def _best(explanation: Explanation, most: int | None) -> list[LabelSteps]:
    """The labels with the highest scores, in the label set's order."""
    by_score = sorted(explanation.labels, key=lambda each: -each.score)
    best = {each.label for each in by_score[:most]}
    return [each for each in explanation.labels if each.label in best]


def _table(explanation: Explanation, labels: Sequence[LabelSteps]) -> Table:
    contrasted = any(each.contrast is not None for each in explanation.labels)
    table = Table()
    table.add_column("label", style="bold", overflow="fold")
    prompted = any(each.prompts for each in explanation.labels)
    columns = ["prompts", "cosine"] if prompted else []
    columns += [*(["contrast"] if contrasted else []), "logit" if prompted else "output", "score"]
    calibrated = any(each.probability is not None for each in explanation.labels)
    columns += ["event's score", *(["probability"] if calibrated else []), "action"]
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for each in labels:
        published = each.published_score
        table.add_row(
            escape(each.label),
            *([str(len(each.prompts)), f"{each.similarity:.6f}"] if prompted else []),
            *([f"{each.contrast:.6f}"] if each.contrast is not None else []),
            f"{each.logit:.4f}",
            f"{each.score:.6f}",
            "-" if published is None else f"{published:.6f}",
            *([_probability(each)] if calibrated else []),
            escape(each.action or "-"),
        )
    return table


def _probability(label: LabelSteps) -> str:
    return "-" if label.probability is None else f"{label.probability:.6f}"
