"""`clipstream labels tune`: thresholds for a wanted precision or recall, or for the least cost, and
probabilities for scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from pipeline.adapters.label_files import with_thresholds
from pipeline.adapters.samples.fitting import require_scikit_learn
from pipeline.adapters.yaml_lines import file_text, read_yaml
from pipeline.errors import Halt
from pipeline.evaluation.judging import Counts
from pipeline.evaluation.tuning import FEW_POSITIVES, Aim, Goal
from pipeline.labels.label_set import LabelSet, ModelPin
from pipeline.labels.learnt.calibration import Calibration
from pipeline.labels.parsing import InvalidLabelSet, parse_label_set
from workers.commands.evaluation.options import Images, Report, SetFile, check_report
from workers.commands.evaluation.telling import percent, table_of_labels, tell_refused, told
from workers.commands.labels.learning.calibrating import (
    Method,
    calibrate_label_set,
    show_calibrated,
)
from workers.commands.labels.tuned import ACT, REVIEW, Tuned, divide, tune_label_set
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
            help="Share of the images that thresholds are judged on, not chosen.", min=0.1, max=0.9
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
    """Choose thresholds on labelled images, and write a new label set with them.

    Give one of --precision, --recall and --cost, or --calibrate, or both. Thresholds are chosen on
    one part of the images and judged on the other. A precision or recall is reached on new images
    with the probability --confidence, if the sample was drawn at random from them. A label for
    which the images do not show that keeps its threshold.

    --calibrate learns on the same part what a score is worth: events then also have a probability.
    Thresholds are about scores all the same.

    The new file differs in thresholds, calibrations, the model pin and a comment at its top; all
    else stays as written. The exit code is 1 if a label keeps its threshold, or is not calibrated,
    for want of evidence.
    """
    goal = _goal(precision, recall, cost, confidence, calibrate)
    check_report(report)
    if calibrate is not None:
        require_scikit_learn("--calibrate")
    target = output or file.with_name(f"{file.stem}.tuned{file.suffix}")
    if target.exists():
        raise Halt("tune.exists", f"{target} exists; name a new file with --output")
    settings = load(config, overrides, {}, must_read=False)
    configure_logging(settings.log, "labels-tune")
    # Imported here because torch and transformers take seconds to import.
    from workers.commands.evaluation.scoring import score_sample

    progress = Console(stderr=True)
    text = file_text(file)
    scored = score_sample(settings, file, images, progress, group_by)
    parts = divide(scored, held_out, seed)
    tuned = tune_label_set(scored, goal, parts, _set_actions(text))
    calibrated = None if calibrate is None else calibrate_label_set(scored, calibrate, parts)
    if report is not None:
        from workers.commands.labels.reports import write_tune_report

        write_tune_report(report, scored, tuned, calibrated)
    console = Console()
    if tuned.goal is not None:
        _show(scored, tuned, console)
    if calibrated is not None:
        show_calibrated(calibrated, console)
    tell_refused(scored.embedded.refused, progress)
    calibrations = {} if calibrated is None else calibrated.calibrations
    if tuned.thresholds or calibrations:
        _write(target, text, scored, tuned, calibrations)
        typer.echo(f"written: {target}")
    if report is not None:
        typer.echo(f"report: {report}")
    lacking = any(each.score is None for each in tuned.labels) or (
        calibrated is not None and len(calibrations) < len(calibrated.labels)
    )
    raise typer.Exit(1 if lacking else 0)


def _goal(
    precision: float | None,
    recall: float | None,
    cost: str | None,
    confidence: float,
    calibrate: Method | None,
) -> Goal | None:
    given = sum(each is not None for each in (precision, recall, cost))
    if given == 0 and calibrate is not None:
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
    tuned: Tuned,
    calibrations: Mapping[str, Calibration],
) -> None:
    """
    Raises:
        Halt: ``tune.unwritable``, ``tune.exists``.
    """
    parts = tuned.parts
    by = f"by `clipstream labels tune` on {datetime.now(UTC):%Y-%m-%d}"
    what = f"Thresholds chosen {by}: {tuned.goal}." if tuned.thresholds else f"Calibrated {by}."
    note = (
        f"{what}\n"
        f"Chosen on {len(parts.chosen_on)} images, judged on {len(parts.held_out)} others; "
        f"sample sha256:{scored.embedded.digest[:16]}."
    )
    pin = ModelPin(scored.model.name, scored.model.revision)
    new = with_thresholds(text, tuned.thresholds, pin, note, calibrations)
    _check(new, scored.label_set, tuned, calibrations, pin)
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(new)
    except FileExistsError as error:
        raise Halt("tune.exists", f"{target} exists; name a new file with --output") from error
    except OSError as error:
        raise Halt("tune.unwritable", f"{target}: cannot be written ({error.strerror})") from error


def _check(
    text: str,
    old: LabelSet,
    tuned: Tuned,
    calibrations: Mapping[str, Calibration],
    pin: ModelPin,
) -> None:
    """Refuse a text that says anything but what was tuned: the edit of a person's file is only as
    good as what is read from it afterwards."""
    try:
        new = parse_label_set(read_yaml(text).data)
    except InvalidLabelSet as error:
        raise Halt("tune.unwritable", f"tune: the new label set is not valid: {error}") from error
    expected = []
    for label, found in zip(old.labels, new.labels, strict=True):
        scores = tuned.thresholds.get(label.name, {})
        changes: dict[str, Any] = {}
        if label.name in calibrations:
            changes["calibration"] = calibrations[label.name]
        for key, name in ((ACT, "act"), (REVIEW, "review")):
            if key in scores:
                threshold = getattr(label, name) or getattr(found, name)
                changes[name] = threshold and replace(threshold, score=scores[key])
        expected.append(replace(label, **changes))
    if replace(old, labels=tuple(expected), model=pin) != new:
        raise Halt(
            "tune.unwritable",
            "tune: the new values do not fit this file's layout; write one key on each line",
        )


def _show(scored: Scored, tuned: Tuned, console: Console) -> None:
    parts = tuned.parts
    console.print(f"[bold]{escape(scored.label_set.name)}[/]: {tuned.goal}", soft_wrap=True)
    console.print(
        f"chosen on {len(parts.chosen_on)} images, judged on {len(parts.held_out)} others"
    )
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
