"""`clipstream explain`: derive an event's scores and decisions again, step by step."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
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
from pipeline.labels.explaining import TOLERANCE, Explanation, explain
from pipeline.labels.scoring import compile_label_sets
from workers.commands.labels.finding import Prompts, of_version
from workers.commands.options import Config, Set, load
from workers.logs import configure_logging
from workers.settings.loading import Settings

_NOT_AT_HAND = ("label_set.unknown", "label_set.unproven", "label_set.another_model")


def explain_event(
    event: Annotated[
        str,
        typer.Argument(
            help="TOPIC[PARTITION]@OFFSET of a classification, or a JSON file: the value of the "
            "event, a line of `kcat -J`, or the whole event from the console. -: standard input.",
            metavar="EVENT",
        ),
    ],
    embedding: Annotated[
        str | None,
        typer.Option(
            help="TOPIC[PARTITION]@OFFSET of the embedding, or a file with its raw value. Without "
            "it, the embedding is looked for on the embeddings topic.",
            metavar="FILE|POSITION",
        ),
    ] = None,
    label_set: Annotated[
        list[Path] | None,
        typer.Option(
            help="File or folder with the label set of that time. May be repeated. Without it: "
            "label_sets.paths, then the topic of label sets.",
            metavar="FILE",
        ),
    ] = None,
    config: Config = None,
    overrides: Set = None,
    tolerance: Annotated[
        float,
        typer.Option(
            help="Largest difference that counts as equal. Prompts embedded on other hardware "
            "differ by 1e-7, and scores then by up to 1e-5.",
            min=0,
        ),
    ] = TOLERANCE,
    prompts: Annotated[
        bool, typer.Option("--prompts", help="Also show each prompt's cosine with the image.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole derivation as JSON.")
    ] = False,
) -> None:
    """Show how each score of an event came about, and check that the event says so.

    Takes the published embedding, the label set of the event's version and the event's model. No
    GPU is used, and no image is read.

    Exit codes: 0 everything matches; 1 something does not, and the message says what; 2 the
    arguments or the settings are wrong.
    """
    settings = load(config, overrides, {}, must_read=False)
    configure_logging(settings.log, "explain")
    given = _given(settings, event)
    vector = _embedding(settings, given, embedding)
    explained = run_explain(settings, given.event, vector, label_set or [], tolerance)
    if as_json:
        typer.echo(json.dumps(explained.to_json(), ensure_ascii=False, indent=2))
    else:
        _show(explained, Console(), with_prompts=prompts)
    raise typer.Exit(1 if explained.differences else 0)


class _Given(NamedTuple):
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
        explanation = explain(compiled, texts, embedding.vector, result, tolerance)
        differences += explanation.differences
        explanations.append(explanation)
    return Explained(event, tuple(explanations), texts.engine, tuple(differences))


def _given(settings: Settings, text: str) -> _Given:
    position = position_of(text)
    if position is not None:
        record = record_at(settings.kafka, position)
        return _Given(classification_of(record), record.timestamp_ms)
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


def _of_document(document: dict[str, Any]) -> _Given:
    """An event's value; a record as `kcat -J` prints it; or the console's whole event."""
    payload, data = document.get("payload"), document.get("data")
    if isinstance(payload, str):
        pairs = document.get("headers") or []
        headers = dict(zip(pairs[::2], map(str, pairs[1::2]), strict=True))
        at_ms = document.get("ts")
        try:
            value = json.loads(payload)
        except ValueError as error:
            raise Halt("event.unreadable", f"the payload is no JSON ({error})") from error
        return _Given(
            ClassificationEvent.of(value, headers), at_ms if isinstance(at_ms, int) else None
        )
    if isinstance(data, dict):
        own_id = document.get("id")
        headers = {"ce_id": own_id} if isinstance(own_id, str) else {}
        return _Given(ClassificationEvent.of(data, headers), None)
    return _Given(ClassificationEvent.of(document, {}), None)


def _embedding(settings: Settings, given: _Given, text: str | None) -> EmbeddingEvent:
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


def _show(explained: Explained, console: Console, *, with_prompts: bool) -> None:
    event, model = explained.event, explained.event.model

    def line(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False)

    line(f"[bold]{escape(event.uri or 'image')}[/]")
    line(f"embedded by {escape(model.name)} at {escape(model.revision)}, {escape(model.engine)}")
    line(f"prompts: {'from the cache' if explained.engine is None else explained.engine}\n")
    for each in explained.explanations:
        line(f"[bold]{escape(each.label_set)}[/] {each.version}")
        console.print(_table(each))
        if with_prompts:
            for label in each.labels:
                line(f"  [bold]{escape(label.label)}[/]")
                for step in label.prompts:
                    line(f"  {step.cosine:+.6f}  {escape(step.prompt)}")
        line(f"decision [bold]{escape(each.decision)}[/]: {escape(each.rule)}")
        line(f"largest difference of a score from the event's: {each.largest_difference:.2g}\n")
    for difference in explained.differences:
        line(f"[red]does not match:[/] {escape(difference)}")
    if not explained.differences:
        line("[green]everything matches the event[/]")


def _table(explanation: Explanation) -> Table:
    contrasted = any(each.contrast is not None for each in explanation.labels)
    table = Table()
    table.add_column("label", style="bold", overflow="fold")
    columns = ["prompts", "cosine", *(["contrast"] if contrasted else []), "logit", "score"]
    for name in (*columns, "event's score", "action"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in explanation.labels:
        published = each.published_score
        table.add_row(
            escape(each.label),
            str(len(each.prompts)),
            f"{each.similarity:.6f}",
            *([f"{each.contrast:.6f}"] if each.contrast is not None else []),
            f"{each.logit:.4f}",
            f"{each.score:.6f}",
            "-" if published is None else f"{published:.6f}",
            escape(each.action or "-"),
        )
    return table
