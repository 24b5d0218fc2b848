"""`clipstream labels tune`: thresholds for a wanted precision or recall, or for the least cost, and
the best of several wordings, and probabilities for scores."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from pipeline.adapters.label_files import with_thresholds, with_wordings
from pipeline.adapters.samples.fitting import require_scikit_learn
from pipeline.adapters.yaml_lines import file_text, read_yaml
from pipeline.errors import Halt
from pipeline.evaluation.judging import Counts
from pipeline.evaluation.tuning import FEW_POSITIVES, Aim, Goal
from pipeline.labels.label_set import ModelPin
from pipeline.labels.parsing import InvalidLabelSet, parse_label_set
from workers.commands.evaluation.options import Images, Report, SetFile, check_report
from workers.commands.evaluation.telling import percent, table_of_labels, tell_refused, told
from workers.commands.labels.learning.calibrating import (
    Method,
    calibrate_label_set,
    show_calibrated,
)
from workers.commands.labels.tuned import (
    ACT,
    REVIEW,
    Found,
    Tuned,
    divide,
    tune_label_set,
    write_new,
)
from workers.commands.labels.wordings.candidates import read_wordings
from workers.commands.labels.wordings.choosing import choose_wordings
from workers.commands.labels.wordings.telling import show_alike, show_wordings
from workers.commands.options import Config, Set, load
from workers.logs import configure_logging


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
    calibrate: Annotated[
        Method | None,
        typer.Option(help="Also learn a probability for each score: isotonic needs more images."),
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

    Give one of --precision, --recall and --cost, or --prompts, or --calibrate, or several of these.
    Thresholds and wordings are chosen on one part of the images and judged on the other. A
    precision or recall is reached on new images with the probability --confidence, if the sample
    was drawn at random from them. A label for which the images do not show that keeps its
    threshold. A label keeps its wording if the images do not show that another one is better.

    --calibrate learns on the same part what a score is worth: events then also have a probability.
    Thresholds are about scores all the same.

    Wordings are chosen first. Thresholds and calibrations are those of the new wordings.

    The new file differs in wordings, thresholds, calibrations, the model pin and a comment at the
    top; all else stays as written. The exit code is 1 if a label keeps its threshold, or is not
    calibrated, for want of evidence.
    """
    optional = prompts is not None or calibrate is not None
    goal = _goal(precision, recall, cost, confidence, optional=optional)
    check_report(report)
    if calibrate is not None:
        require_scikit_learn("--calibrate")
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
    scored = seen.score(label_set)
    parts = divide(scored, held_out, seed)
    worded = None if wordings is None else choose_wordings(seen, label_set, wordings, parts)
    if worded is not None:
        scored = seen.score(worded.label_set)
    tuned = None
    if goal is not None:
        tries = worded.tries if worded is not None else lambda label: 1
        tuned = tune_label_set(scored, goal, parts, _set_actions(text), tries)
    calibrated = None if calibrate is None else calibrate_label_set(scored, calibrate, parts)
    found = Found(scored, parts, worded, tuned, calibrated)
    if report is not None:
        from workers.commands.labels.reports import write_tune_report

        write_tune_report(report, found)
    _show(found, console)
    show_alike(scored.label_set, seen.texts, console)
    tell_refused(scored.embedded.refused, progress)
    if found.wordings or found.thresholds or found.calibrations:
        _write(target, text, found)
        typer.echo(f"written: {target}")
    if report is not None:
        typer.echo(f"report: {report}")
    raise typer.Exit(1 if found.lacking else 0)


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


def _write(target: Path, text: str, found: Found) -> None:
    """
    Raises:
        Halt: ``tune.unwritable``, ``tune.exists``.
    """
    scored = found.scored
    pin = ModelPin(scored.model.name, scored.model.revision)
    new = with_wordings(text, {name: each.written for name, each in found.wordings.items()})
    new = with_thresholds(new, found.thresholds, pin, _note(found), found.calibrations)
    _check(new, found, pin)
    write_new(target, new.encode())


def _note(found: Found) -> str:
    """What a new label set says of itself at its top."""
    lines = [f"Chosen by `clipstream labels tune` on {datetime.now(UTC):%Y-%m-%d}."]
    if found.wordings:
        lines.append(f"Wordings of {', '.join(found.wordings)}, by average precision.")
    if found.tuned is not None and found.thresholds:
        lines.append(f"Thresholds: {found.tuned.goal}.")
    elif found.wordings:
        lines.append("Thresholds are those of the wordings before.")
    if found.stale_calibrations:
        stale = ", ".join(found.stale_calibrations)
        lines.append(f"Calibrations of {stale} are those of the wordings before.")
    if found.calibrated is not None and found.calibrations:
        lines.append(f"Probabilities: {found.calibrated.method}.")
    on, out = len(found.parts.chosen_on), len(found.parts.held_out)
    sample = f"sample sha256:{found.scored.embedded.digest[:16]}"
    return "\n".join([*lines, f"Chosen on {on} images, judged on {out} others; {sample}."])


def _check(text: str, found: Found, pin: ModelPin) -> None:
    """Refuse a text that says anything but what was tuned: the edit of a person's file is only as
    good as what is read from it afterwards."""
    try:
        new = parse_label_set(read_yaml(text).data)
    except InvalidLabelSet as error:
        raise Halt("tune.unwritable", f"tune: the new label set is not valid: {error}") from error
    old = found.scored.label_set
    expected = []
    for label, written in zip(old.labels, new.labels, strict=True):
        scores = found.thresholds.get(label.name, {})
        changes: dict[str, Any] = {}
        if label.name in found.calibrations:
            changes["calibration"] = found.calibrations[label.name]
        for key, name in ((ACT, "act"), (REVIEW, "review")):
            if key in scores:
                threshold = getattr(label, name) or getattr(written, name)
                changes[name] = threshold and replace(threshold, score=scores[key])
        expected.append(replace(label, **changes))
    if replace(old, labels=tuple(expected), model=pin) != new:
        raise Halt(
            "tune.unwritable",
            "tune: the changes do not fit this file's layout; write one key on each line",
        )


def _show(found: Found, console: Console) -> None:
    parts = found.parts
    if found.worded is not None or found.tuned is not None:
        goal = "" if found.tuned is None else f": {found.tuned.goal}"
        console.print(f"[bold]{escape(found.scored.label_set.name)}[/]{goal}", soft_wrap=True)
        console.print(
            f"chosen on {len(parts.chosen_on)} images, judged on {len(parts.held_out)} others"
        )
    if found.worded is not None:
        show_wordings(found.worded, found, console)
    if found.tuned is not None:
        _show_thresholds(found.tuned, console)
    if found.calibrated is not None:
        show_calibrated(found.calibrated, parts, console)


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
