"""Learns on one part of a sample what scores are worth, and judges it on the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from pipeline.evaluation.judging import Interval
from pipeline.evaluation.ranking import bootstrap_weights
from pipeline.evaluation.reliability import mean_of, squared_errors
from pipeline.evaluation.sample import Scores, Truth
from pipeline.evaluation.tuning import FEW_POSITIVES
from pipeline.labels.learnt.calibration import Calibration, Calibrations, Platt
from workers.commands.evaluation.telling import figure, table_of_labels
from workers.commands.labels.tuned import Parts

if TYPE_CHECKING:
    from workers.commands.evaluation.scoring import Scored


class Method(StrEnum):
    """How a score becomes a probability."""

    PLATT = "platt"
    ISOTONIC = "isotonic"

    @property
    def least(self) -> int:
        """Fewest images to learn on that show a label, and fewest that do not. Two numbers need few
        images. Isotonic regression follows the sample's chance where it has few."""
        return 20 if self is Method.PLATT else 100


@dataclass(frozen=True, slots=True, eq=False)
class CalibratedLabel:
    """What became of one label. ``calibration`` is None if none was learnt: ``why_none`` says why.
    ``before``, ``now`` and ``change`` are the Brier score of the held-out images: of the score, of
    the probability, and the second less the first. ``probabilities`` are those of these images."""

    name: str
    calibration: Calibration | None
    why_none: str
    positives: int
    held_out_positives: int
    before: Interval
    now: Interval | None = None
    change: Interval | None = None
    probabilities: Scores | None = None

    @property
    def few(self) -> bool:
        """Whether too few images show the label for a narrow interval."""
        return min(self.positives, self.held_out_positives) < FEW_POSITIVES

    @property
    def worse(self) -> bool:
        """Whether the probability is further from the truth than the score was, by more than
        chance."""
        return self.change is not None and self.change.low is not None and self.change.low > 0


@dataclass(frozen=True, slots=True)
class Calibrated:
    method: Method
    labels: tuple[CalibratedLabel, ...]

    @property
    def calibrations(self) -> Mapping[str, Calibration]:
        """What was learnt, by label."""
        return {each.name: each.calibration for each in self.labels if each.calibration is not None}


def calibrate_label_set(scored: Scored, method: Method, parts: Parts) -> Calibrated:
    """Learn a calibration for every label that the sample judges."""
    weights = bootstrap_weights(len(parts.held_out))
    sample = f"sha256:{scored.embedded.digest}"
    labels = []
    for place, label in enumerate(scored.label_set.labels):
        if not scored.judges(label.name):
            continue
        scores, truth = scored.scores[:, place], scored.truth[:, place]
        learnt, why_none = _learn(method, scores[parts.chosen_on], truth[parts.chosen_on], sample)
        held_out, true = scores[parts.held_out], truth[parts.held_out]
        errors = squared_errors(held_out, true)
        positives = int(truth[parts.chosen_on].sum()), int(true.sum())
        before = mean_of(errors, weights)
        if learnt is None:
            labels.append(CalibratedLabel(label.name, None, why_none, *positives, before))
            continue
        probabilities = Calibrations([learnt]).probabilities(held_out[:, None])[:, 0]
        errors_now = squared_errors(probabilities, true)
        labels.append(
            CalibratedLabel(
                label.name,
                learnt,
                "",
                *positives,
                before,
                mean_of(errors_now, weights),
                mean_of(errors_now - errors, weights),
                probabilities,
            )
        )
    return Calibrated(method, tuple(labels))


def _learn(
    method: Method, scores: Scores, truth: Truth, sample: str
) -> tuple[Calibration | None, str]:
    """The calibration, or why there is none."""
    # Imported here because scikit-learn takes seconds to import.
    from pipeline.adapters.samples.fitting import fit_isotonic, fit_platt

    shown = int(truth.sum())
    for count, which in ((shown, "show"), (len(truth) - shown, "do not show")):
        if count < method.least:
            return None, f"{count} images to learn on {which} it, and {method} needs {method.least}"
    fit = fit_platt if method is Method.PLATT else fit_isotonic
    learnt = fit(scores, truth, sample)
    return learnt, "" if learnt else "images that show it score no higher than others"


def show_calibrated(calibrated: Calibrated, parts: Parts, console: Console) -> None:
    """Print what was learnt, and what it is worth."""
    console.print(
        f"[bold]calibration[/]: {calibrated.method}, learnt on {len(parts.chosen_on)} images, "
        f"judged on {len(parts.held_out)} others",
        soft_wrap=True,
    )
    table = table_of_labels("images", "learnt", "score", "prob.", "change")
    for each in calibrated.labels:
        images = f"{each.positives}+{each.held_out_positives}"
        learnt = "[dim]nothing[/]" if each.calibration is None else told_shortly(each.calibration)
        before = figure(each.before, interval=False)
        now = "" if each.now is None else figure(each.now, interval=False)
        change = "" if each.change is None else figure(each.change)
        table.add_row(escape(each.name), images, learnt, before, now, change)
    console.print(table)
    console.print(
        "[dim]Brier score of score and probability on the held-out images: 0 is best; change with "
        "95 % interval[/]",
        soft_wrap=True,
    )
    for each in calibrated.labels:
        name = escape(each.name)
        if each.calibration is None:
            console.print(f"[yellow]not calibrated:[/] {name}: {each.why_none}", soft_wrap=True)
        elif each.worse:
            what = "its probability is further from the truth than its score"
            console.print(f"[yellow]worse:[/] {name}: {what}", soft_wrap=True)
        elif each.few:
            what = f"fewer than {FEW_POSITIVES} images of a part show it"
            console.print(f"[yellow]few:[/] {name}: {what}", soft_wrap=True)


def told_shortly(calibration: Calibration) -> str:
    """A calibration in a cell of a table."""
    if isinstance(calibration, Platt):
        return f"{calibration.slope:.4g} x {calibration.intercept:+.4g}"
    return f"{len(calibration.knots)} knots"
