"""`clipstream evaluate`: how well the model classifies a data set without any training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from pipeline.evaluation.benchmarks import BENCHMARKS, Benchmark
from pipeline.evaluation.templates import TEMPLATES
from workers.commands.evaluation.options import Images, Report, check_report
from workers.commands.evaluation.telling import percent, tell_refused
from workers.commands.options import Config, Set, load
from workers.logs import configure_logging

if TYPE_CHECKING:
    from workers.commands.evaluation.evaluating import Evaluated

SHOWN_CLASSES = 10


def evaluate(
    images: Images,
    config: Config = None,
    overrides: Set = None,
    templates: Annotated[
        str,
        typer.Option(
            help=f"A file with one template on each line, or one of: {', '.join(TEMPLATES)}.",
            metavar="NAME|FILE",
        ),
    ] = "openai-imagenet-80",
    classes: Annotated[
        Path | None,
        typer.Option(
            help="What the prompts call the classes: one name a line, in the order of the classes, "
            "or CLASS, a tab, NAME. Default: their labels, with spaces for underscores.",
            metavar="FILE",
        ),
    ] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            help=f"Show the published figures beside: {', '.join(BENCHMARKS)}.", metavar="NAME"
        ),
    ] = None,
    report: Report = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as one JSON object.")
    ] = False,
) -> None:
    """Measure zero-shot accuracy on a labelled data set: top-1, top-5, mean per class.

    The images are decoded and encoded as a worker does it, with the configured model. No data set
    is downloaded.
    """
    check_report(report)
    settings = load(config, overrides, {}, must_read=False)
    configure_logging(settings.log, "evaluate")
    if benchmark is not None and benchmark not in BENCHMARKS:
        raise typer.BadParameter(f"{benchmark}: write one of {', '.join(BENCHMARKS)}")
    published = BENCHMARKS[benchmark] if benchmark is not None else None
    # Imported here because torch and transformers take seconds to import.
    from workers.commands.evaluation.evaluating import evaluate_model, templates_of

    progress = Console(stderr=True)
    evaluated = evaluate_model(
        settings, images, templates_of(templates), classes, published, progress
    )
    if report is not None:
        from workers.commands.evaluation.page import write_page

        write_page(report, "evaluate.html.jinja", _values(evaluated, published))
    if as_json:
        typer.echo(json.dumps(as_plain(evaluated), indent=2, ensure_ascii=False))
        return
    _show(evaluated, published, Console(), progress)
    if report is not None:
        typer.echo(f"report: {report}")


def as_plain(evaluated: Evaluated) -> dict[str, Any]:
    """Everything as plain data."""
    from workers.commands.evaluation.telling import plain_share

    found = evaluated.accuracy
    return {
        "model": {"name": evaluated.model.name, "revision": evaluated.model.revision},
        "templates": {
            "source": evaluated.templates.source,
            "texts": list(evaluated.templates.texts),
        },
        "images": len(evaluated.embedded.kept),
        "sha256": evaluated.embedded.digest,
        "top_1": plain_share(found.top_1),
        "top_5": None if found.top_5 is None else plain_share(found.top_5),
        "mean_per_class": found.mean_per_class,
        "classes": [
            {"name": name, **plain_share(share)}
            for name, share in zip(evaluated.names, found.by_class, strict=True)
        ],
        "not_used": [
            {"name": each.name, "code": each.code, "message": each.message}
            for each in evaluated.embedded.refused
        ],
    }


def _values(evaluated: Evaluated, published: Benchmark | None) -> dict[str, Any]:
    classes = zip(evaluated.names, evaluated.accuracy.by_class, strict=True)
    return {
        "evaluated": evaluated,
        "published": published,
        "classes": sorted(classes, key=lambda each: (each[1].value is None, each[1].value)),
        "model": evaluated.model,
        "images": len(evaluated.embedded.kept),
        "digest": evaluated.embedded.digest,
        "refused": evaluated.embedded.refused,
    }


def _show(
    evaluated: Evaluated, published: Benchmark | None, console: Console, aside: Console
) -> None:

    found = evaluated.accuracy
    console.print(
        f"{len(evaluated.embedded.kept)} images of {len(evaluated.names)} classes, "
        f"templates: {len(evaluated.templates.texts)}, {escape(evaluated.model.name)}",
        soft_wrap=True,
    )
    console.print(f"top-1           {percent(found.top_1)} %")
    if found.top_5 is not None:
        console.print(f"top-5           {percent(found.top_5)} %")
    console.print(f"mean per class  {100 * found.mean_per_class:.1f} %")
    for each in published.figures if published else ():
        top_5 = "" if each.top_5 is None else f", top-5 {each.top_5} %"
        told = f"{each.top_1} %{top_5}: {each.model}, {each.templates} ({each.source})"
        console.print(f"published       {told}", soft_wrap=True)
    shares = sorted(
        (share.value, name, share)
        for name, share in zip(evaluated.names, found.by_class, strict=True)
        if share.value is not None and share.value < 1
    )
    for _, name, share in shares[:SHOWN_CLASSES]:
        console.print(f"[dim]worst class[/]     {percent(share)} % {escape(name)}")
    tell_refused(evaluated.embedded.refused, aside)
