"""`clipstream labels tune`: thresholds for a wanted precision or recall, or for the least cost, and
the best of several wordings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from pipeline.adapters.label_files import with_thresholds, with_wordings
from pipeline.adapters.yaml_lines import file_text, read_yaml
from pipeline.errors import Halt
from pipeline.evaluation.judging import Counts
from pipeline.evaluation.tuning import FEW_POSITIVES, Aim, Goal
from pipeline.labels.label_set import LabelSet, ModelPin
from pipeline.labels.parsing import InvalidLabelSet, parse_label_set
from workers.commands.evaluation.options import Images, Report, SetFile, check_report
from workers.commands.evaluation.telling import percent, table_of_labels, tell_refused, told
from workers.commands.labels.tuned import ACT, REVIEW, Parts, Tuned, divide, tune_label_set
from workers.commands.labels.wordings.candidates import read_wordings
from workers.commands.labels.wordings.choosing import Worded, choose_wordings
from workers.commands.labels.wordings.telling import show_alike, show_wordings
from workers.commands.options import Config, Set, load
from workers.logs import configure_logging

if TYPE_CHECKING:
    from workers.commands.evaluation.scoring import Scored


def tune(
    file: SetFile,
    images: Images,
    config: Config = None,
    overrides: Set = None,
    precision: Annotated[
        float | None,
        typer.Option(
            help="Lowest act_threshold whose precision is at least this.",
            min=0.01,
            max=0.999,
            metavar="SHARE",
        ),
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option(
            help="Highest review_threshold whose recall is at least this.",
            min=0.01,
            max=0.999,
            metavar="SHARE",
        ),
    ] = None,
    cost: Annotated[
        str | None,
        typer.Option(
            help="The act_threshold with the least cost: 1:20 if a miss costs 20 times what a "
            "false alarm costs.",
            metavar="FALSE_ALARM:MISS",
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with other wordings of labels: the best of each is taken if the images "
            "show that it is better. docs/decisions.md has the format.",
            metavar="FILE",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="New file. Default: SET with .tuned before its suffix."
        ),
    ] = None,
    report: Report = None,
    confidence: Annotated[
        float,
        typer.Option(
            help="Probability that a label's precision or recall is reached.", min=0.5, max=0.999
        ),
    ] = 0.95,
    held_out: Annotated[
        float,
        typer.Option(
            help="Share of the images to judge on. The others are to choose on.", min=0.1, max=0.9
        ),
    ] = 0.4,
    group_by: Annotated[
        str | None,
        typer.Option(
            help="Column whose value near-duplicates share. They stay in one part, and one of them "
            "counts.",
            metavar="COLUMN",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another number divides the sample anew.", min=0)] = 0,
) -> None:
    """Choose thresholds and wordings on labelled images, and write a new label set with them.

    Give one of --precision, --recall and --cost, or --prompts, or both. Thresholds and wordings are
    chosen on one part of the images and judged on the other. A precision or recall is reached on
    new images with the probability --confidence, if the sample was drawn at random from them. A
    label for which the images do not show that keeps its threshold. A label keeps its wording if
    the images do not show that another one is better.

    The new file differs in thresholds, wordings, the model pin and a comment at the top; all else
    stays as written. The exit code is 1 if a label keeps its threshold for want of evidence.
    """
    goal = _goal(precision, recall, cost, confidence, optional=prompts is not None)
    check_report(report)
    target = output or file.with_name(f"{file.stem}.tuned{file.suffix}")
    if target.exists():
        raise Halt("tune.exists", f"{target} exists; name a new file with --output")
    settings = load(config, overrides, {}, must_read=False)
    configure_logging(settings.log, "labels-tune")
    # Imported here because torch and transformers take seconds to import.
    from workers.commands.evaluation.scoring import label_set_of, see_sample

    progress, console = Console(stderr=True), Console()
    text, label_set = file_text(file), label_set_of(file)
    wordings = None if prompts is None else read_wordings(prompts, read_yaml(text).data)
    seen = see_sample(settings, label_set, images, progress, group_by)
    scored, tuned, worded = seen.score(label_set), None, None
    parts = divide(scored, held_out, seed)
    if wordings is not None:
        worded = choose_wordings(seen, label_set, wordings, parts)
        scored = seen.score(worded.label_set)
    if goal is not None:
        tries = worded.tries if worded is not None else lambda label: 1
        tuned = tune_label_set(scored, goal, parts, _set_actions(text), tries)
    if report is not None:
        from workers.commands.labels.reports import write_tune_report

        write_tune_report(report, scored, parts, tuned, worded)
    _show(scored, parts, tuned, worded, console)
    show_alike(scored.label_set, seen.texts, console)
    tell_refused(scored.embedded.refused, progress)
    if (tuned and tuned.thresholds) or (worded and worded.adopted):
        _write(target, text, scored, parts, tuned, worded)
        typer.echo(f"written: {target}")
    if report is not None:
        typer.echo(f"report: {report}")
    raise typer.Exit(1 if tuned and any(each.score is None for each in tuned.labels) else 0)


def _goal(
    precision: float | None,
    recall: float | None,
    cost: str | None,
    confidence: float,
    *,
    optional: bool,
) -> Goal | None:
    given = sum(each is not None for each in (precision, recall, cost))
    if optional and not given:
        return None
    if given != 1:
        raise typer.BadParameter("give one of --precision, --recall and --cost")
    if precision is not None:
        return Goal(Aim.PRECISION, precision, confidence)
    if recall is not None:
        return Goal(Aim.RECALL, recall, confidence)
    try:
        false_alarm, miss = (float(part) for part in str(cost).split(":"))
    except ValueError:
        false_alarm = miss = 0.0
    if not (0 < false_alarm < math.inf and 0 < miss < math.inf):  # false for a NaN, too
        raise typer.BadParameter(f"{cost}: write two numbers, as in 1:20")
    return Goal(Aim.COST, miss / false_alarm, confidence)


def _set_actions(text: str) -> dict[str, bool]:
    """Which thresholds a label without any could have, by the actions of the set."""
    written = read_yaml(text).data
    return {ACT: "act_action" in written, REVIEW: "review_action" in written}


def _write(
    target: Path,
    text: str,
    scored: Scored,
    parts: Parts,
    tuned: Tuned | None,
    worded: Worded | None,
) -> None:
    """
    Raises:
        Halt: ``tune.unwritable``, ``tune.exists``.
    """
    wordings = {} if worded is None else worded.adopted
    thresholds = {} if tuned is None else tuned.thresholds
    what = [f"Wordings of {', '.join(wordings)}, by average precision."] if wordings else []
    if tuned is not None and thresholds:
        what.append(f"Thresholds: {tuned.goal}.")
    elif wordings:
        what.append("Thresholds are those of the wordings before.")
    sample = f"sample sha256:{scored.embedded.digest[:16]}"
    on, out = len(parts.chosen_on), len(parts.held_out)
    note = "\n".join(
        [
            f"Chosen by `clipstream labels tune` on {datetime.now(UTC):%Y-%m-%d}.",
            *what,
            f"Chosen on {on} images, judged on {out} others; {sample}.",
        ]
    )
    pin = ModelPin(scored.model.name, scored.model.revision)
    new = with_wordings(text, {name: each.written for name, each in wordings.items()})
    new = with_thresholds(new, thresholds, pin, note)
    _check(new, scored.label_set, thresholds, pin)
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(new)
    except FileExistsError as error:
        raise Halt("tune.exists", f"{target} exists; name a new file with --output") from error
    except OSError as error:
        raise Halt("tune.unwritable", f"{target}: cannot be written ({error.strerror})") from error


def _check(
    text: str, old: LabelSet, thresholds: Mapping[str, Mapping[str, float]], pin: ModelPin
) -> None:
    """Refuse a text that says anything but what was tuned: the edit of a person's file is only as
    good as what is read from it afterwards."""
    try:
        new = parse_label_set(read_yaml(text).data)
    except InvalidLabelSet as error:
        raise Halt("tune.unwritable", f"tune: the new label set is not valid: {error}") from error
    expected = []
    for label, found in zip(old.labels, new.labels, strict=True):
        scores = thresholds.get(label.name, {})
        changes = {}
        for key, name in ((ACT, "act"), (REVIEW, "review")):
            if key in scores:
                threshold = getattr(label, name) or getattr(found, name)
                changes[name] = threshold and replace(threshold, score=scores[key])
        expected.append(replace(label, **changes))
    if replace(old, labels=tuple(expected), model=pin) != new:
        raise Halt(
            "tune.unwritable",
            "tune: the changes do not fit this file's layout; write one key on each line",
        )


def _show(
    scored: Scored,
    parts: Parts,
    tuned: Tuned | None,
    worded: Worded | None,
    console: Console,
) -> None:
    goal = "" if tuned is None else f": {tuned.goal}"
    console.print(f"[bold]{escape(scored.label_set.name)}[/]{goal}", soft_wrap=True)
    console.print(
        f"chosen on {len(parts.chosen_on)} images, judged on {len(parts.held_out)} others"
    )
    if worded is not None:
        show_wordings(worded, console, thresholds=tuned is not None)
    if tuned is not None:
        _show_thresholds(tuned, console)


def _show_thresholds(tuned: Tuned, console: Console) -> None:
    table = table_of_labels("images", "", "threshold", "precision", "recall")
    for label in tuned.labels:
        images = f"{label.positives}+{label.held_out_positives}"
        table.add_row(escape(label.name), images, "old", *_row(label.before, label.was))
        if label.score is not None:
            table.add_row("", "", "new", *_row(label.score, label.now))
    console.print(table)
    console.print("[dim]per cent of the held-out images, with 95 % intervals[/]")
    for label in tuned.labels:
        name = escape(label.name)
        if label.score is None:
            console.print(f"[yellow]kept:[/] {name}: {label.kept_because}", soft_wrap=True)
        elif label.few:
            console.print(
                f"[yellow]few:[/] {name}: fewer than {FEW_POSITIVES} images of a part show it",
                soft_wrap=True,
            )
        for key, score in label.also.items():
            console.print(f"{name}: {key} is {told(score)} too, it may not be higher")
    for name, why in tuned.skipped.items():
        console.print(f"[dim]left out: {escape(name)}: {why}[/]", soft_wrap=True)


def _row(score: float | None, counts: Counts | None) -> tuple[str, str, str]:
    if score is None or counts is None:
        return "[dim]never[/]", "", ""
    return told(score), percent(counts.precision), percent(counts.recall)
