"""`clipstream labels test`: what a label set's thresholds do to labelled images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from workers.commands.evaluation.options import Images, Report, SetFile, check_report
from workers.commands.evaluation.telling import (
    percent,
    plain_interval,
    plain_share,
    table_of_labels,
    tell_refused,
    told,
)
from workers.commands.labels.grouped import Grouped, group_label_set
from workers.commands.labels.grouping import columns_of, plain_groups, show_groups
from workers.commands.labels.tested import Outcome, Tested, TestedLabel, judge_label_set
from workers.commands.options import Config, Set, load
from workers.logs import configure_logging

if TYPE_CHECKING:
    from workers.commands.evaluation.scoring import Scored

SHOWN_CONFUSIONS = 10
_COLOURS = {Outcome.UNSURE: "yellow", Outcome.MISSED: "red"}


def measure(
    file: SetFile,
    images: Images,
    config: Config = None,
    overrides: Set = None,
    report: Report = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as one JSON object.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Also fail if there are too few images to be sure."),
    ] = False,
    groups: Annotated[
        str | None,
        typer.Option(
            help="Columns of the sample, such as age or language: also compare the rates of the "
            "groups that share a value, and say which differ.",
            metavar="COLUMN[,COLUMN]",
        ),
    ] = None,
) -> None:
    """Test a label set on images whose labels are known: precision, recall, F1, mistakes.

    The images are decoded, encoded and scored as a worker does it. Their embeddings are kept for
    the next run. Every figure has its 95 % interval.

    The exit code is 1 if a precision or recall is below what the label set expects (`expect`), and
    0 if it is above. Where the interval reaches below it, a warning says that there are too few
    images; with --strict, the exit code is then 1 too. Groups do not change the exit code.
    """
    check_report(report)
    columns = columns_of(groups)
    settings = load(config, overrides, {}, must_read=False)
    configure_logging(settings.log, "labels-test")
    # Imported here because torch and transformers take seconds to import.
    from workers.commands.evaluation.scoring import score_sample

    progress = Console(stderr=True)
    scored = score_sample(settings, file, images, progress, attributes=columns)
    tested = judge_label_set(scored)
    grouped = group_label_set(scored, columns)
    if report is not None:
        from workers.commands.labels.reports import write_test_report

        write_test_report(report, settings, scored, tested, grouped)
    if as_json:
        found = as_plain(scored, tested, grouped)
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        console = Console()
        show_tested(scored, tested, console, progress)
        for each in grouped:
            show_groups(each, console)
        if report is not None:
            typer.echo(f"report: {report}")
    raise typer.Exit(1 if tested.fails(strict=strict) else 0)


def as_plain(scored: Scored, tested: Tested, grouped: Sequence[Grouped]) -> dict[str, Any]:
    """Everything as plain data. Shares are ``{value, low, high, hits, of}``."""
    return {
        "label_set": scored.label_set.name,
        "version": scored.label_set.version,
        "model": {"name": scored.model.name, "revision": scored.model.revision},
        "sample": {
            "images": len(scored.scores),
            "sha256": scored.embedded.digest,
            "not_used": [
                {"name": each.name, "code": each.code, "message": each.message}
                for each in scored.embedded.refused
            ],
        },
        "labels": [
            {
                "name": label.name,
                "positives": label.positives,
                "average_precision": plain_interval(label.average_precision),
                "thresholds": {
                    at.key: {
                        "score": at.score,
                        "action": at.action,
                        "precision": plain_share(at.counts.precision),
                        "recall": plain_share(at.counts.recall),
                        "f1": plain_interval(at.counts.f1),
                    }
                    for at in label.thresholds
                },
                "expected": [
                    {"what": each.what, "least": each.least, "outcome": each.outcome.value}
                    for each in label.expected
                ],
            }
            for label in tested.labels
        ],
        "not_judged": list(tested.unjudged),
        "right": None if tested.right is None else plain_share(tested.right),
        "confusions": [
            {"shown": each.shown, "best": each.best, "count": each.count}
            for each in tested.confusions
        ],
        "groups": [plain_groups(each) for each in grouped],
    }


def show_tested(scored: Scored, tested: Tested, console: Console, aside: Console) -> None:
    """Print what a sample shows of a label set."""
    label_set = scored.label_set
    console.print(f"[bold]{escape(label_set.name)}[/] {label_set.version}", soft_wrap=True)
    console.print(f"{len(scored.scores)} images, {escape(scored.model.name)}")
    table = table_of_labels("images", "threshold", "precision", "recall", "F1", "AP")
    for label in tested.labels:
        for row in _rows(label):
            table.add_row(*row)
    if tested.labels:
        console.print(table)
        console.print("[dim]per cent, with 95 % intervals; AP: average precision[/]")
    if tested.right is not None:
        console.print(f"best label right: {percent(tested.right)} %")
    for each in tested.confusions[:SHOWN_CONFUSIONS]:
        console.print(f"{each.count} x {escape(each.shown)} taken for {escape(each.best)}")
    if tested.unjudged:
        names = ", ".join(tested.unjudged)
        console.print(f"[dim]the sample does not judge: {escape(names)}[/]", soft_wrap=True)
    tell_refused(scored.embedded.refused, aside)
    _show_outcomes(tested, console)


def _show_outcomes(tested: Tested, console: Console) -> None:
    outcomes = list(tested.outcomes())
    for label, expected in outcomes:
        if (outcome := expected.outcome) is not Outcome.MET:
            console.print(
                f"[{_COLOURS[outcome]}]{outcome}[/] {escape(label.name)}: {expected.what} "
                f"{percent(expected.share)}, at least {100 * expected.least:g} expected"
                + (": too few images to be sure" if outcome is Outcome.UNSURE else ""),
                soft_wrap=True,
            )
    if outcomes:
        met = sum(expected.outcome is Outcome.MET for _, expected in outcomes)
        console.print(f"{met} of {len(outcomes)} expectations met")


def _rows(label: TestedLabel) -> Iterable[tuple[str, ...]]:
    first = (escape(label.name), str(label.positives))
    overall = percent(label.average_precision, interval=False)
    if not label.thresholds:
        yield (*first, "[dim]never[/]", "", "", "", overall)
    for at in label.thresholds:
        f1 = percent(at.counts.f1, interval=False)
        shares = (percent(at.counts.precision), percent(at.counts.recall), f1)
        yield (*first, f"{told(at.score)} [cyan]{escape(at.action)}[/]", *shares, overall)
        first, overall = ("", ""), ""
