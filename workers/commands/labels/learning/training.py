"""`clipstream labels train-head`: a head that was learnt from labelled images."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

from pipeline.adapters.samples.fitting import require_scikit_learn
from pipeline.errors import Halt
from pipeline.evaluation.sample import Sample, Truth
from pipeline.labels.label_set import Decision
from workers.commands.evaluation.options import Images, Report, check_report
from workers.commands.labels.tested import judge_label_set
from workers.commands.labels.testing import show_tested
from workers.commands.labels.tuned import Parts, divided, write_new
from workers.commands.options import Config, Set, load
from workers.logs import configure_logging

if TYPE_CHECKING:
    from pipeline.records import ModelIdentity
    from workers.commands.evaluation.embedding import Embedded

LEAST = 20
"""Fewest images to learn on that show a label, and fewest that do not."""


def train_head(
    name: Annotated[str, typer.Argument(help="Name of the new label set.", metavar="NAME")],
    images: Images,
    config: Config = None,
    overrides: Set = None,
    decision: Annotated[
        Decision,
        typer.Option(
            help="exclusive: each image shows one label. independent: any number of them."
        ),
    ] = Decision.INDEPENDENT,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Columns of a table that has one for each label. Default: the labels that the "
            "sample names.",
            metavar="LABEL[,LABEL]",
        ),
    ] = None,
    balanced: Annotated[
        bool,
        typer.Option(
            "--balanced",
            help="Images that show a rare label count as much as all others. Scores are then too "
            "high for probabilities.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="New file. The weights go into its folder. Default: NAME.yaml."
        ),
    ] = None,
    report: Report = None,
    held_out: Annotated[
        float,
        typer.Option(help="Share of the images that the head is judged on.", min=0.1, max=0.9),
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
    """Train a linear head on labelled images, and write a label set with it.

    Logistic regression learns from the embeddings of one part of the images. The head is judged on
    the other part, as `labels test` judges a label set. Two new files hold the label set and its
    weights; keep them in one folder. Each label asks for a review from a score of 0.5: choose
    thresholds with `labels tune`.
    """
    check_report(report)
    require_scikit_learn("labels train-head")
    target = output or Path(f"{name}.yaml")
    weights_file = target.with_suffix(".safetensors")
    for file in (target, weights_file):
        if file.exists():
            raise Halt("tune.exists", f"{file} exists; name a new file with --output")
    settings = load(config, overrides, {}, must_read=False)
    configure_logging(settings.log, "labels-train-head")
    # Imported here because torch, transformers and scikit-learn take seconds to import.
    from pipeline.adapters.head_files import linear_weights
    from pipeline.adapters.label_files import load_label_sets
    from pipeline.adapters.samples.fitting import fit_linear
    from pipeline.adapters.samples.reading import read_sample
    from pipeline.labels.blocks import score_block
    from pipeline.labels.scoring import compile_label_sets
    from workers.commands.evaluation.embedding import embed
    from workers.commands.evaluation.scoring import Scored
    from workers.stages import load_encoder

    if settings.decode.views != "centre":
        raise Halt(
            "settings.invalid",
            "decode.views: labels of an image need not be those of each of its views, so a head "
            "learns from centres; add `-s decode.views=centre`, and judge it with `labels test`",
        )
    progress = Console(stderr=True)
    names = None if labels is None else tuple(each.strip() for each in labels.split(","))
    sample = read_sample(images, names, group_by)
    encoder = load_encoder(settings)
    embedded = embed(settings, encoder, sample, progress)
    truth = sample.truth(sample.judged, embedded.kept)
    parts = divided(embedded, truth, held_out, seed)
    _check(images, sample, truth, parts, decision)
    matrix, bias = fit_linear(
        embedded.embeddings[parts.chosen_on],
        truth[parts.chosen_on],
        exclusive=decision is Decision.EXCLUSIVE,
        balanced=balanced,
    )
    body = linear_weights(matrix, bias)
    text = _text(name, decision, sample.judged, encoder.model, weights_file.name, body)
    write_new(weights_file, body)
    write_new(target, (_note(parts, embedded) + text).encode())
    (label_set,) = load_label_sets([target])
    (compiled,) = compile_label_sets([label_set], encoder.encode_texts, encoder.model)
    unseen = replace(
        embedded,
        kept=tuple(embedded.kept[at] for at in parts.held_out.tolist()),
        embeddings=embedded.embeddings[parts.held_out],
        firsts=np.arange(len(parts.held_out)),
        hashes=tuple(embedded.hashes[at] for at in parts.held_out.tolist()),
    )
    block = score_block(compiled, unseen.embeddings)
    judged = truth[parts.held_out]
    scored = Scored(label_set, encoder.model, unseen, block.scores, judged, block.decisions)
    tested = judge_label_set(scored)
    if report is not None:
        from workers.commands.labels.reports import write_test_report

        write_test_report(report, settings, scored, tested, ())
    console = Console()
    console.print(
        f"[bold]{escape(name)}[/]: learnt on {len(parts.chosen_on)} images, judged on others",
        soft_wrap=True,
    )
    show_tested(scored, tested, console, progress)
    typer.echo(f"written: {target}, {weights_file}")
    if report is not None:
        typer.echo(f"report: {report}")


def _check(images: Path, sample: Sample, truth: Truth, parts: Parts, decision: Decision) -> None:
    """
    Raises:
        Halt: ``sample.invalid``: a label is shown by too few images, or by too many.
    """
    exclusive = decision is Decision.EXCLUSIVE
    if len(sample.judged) < 1 + exclusive:
        raise Halt(
            "sample.invalid",
            f"{images}: names {len(sample.judged)} labels, and a head needs {1 + exclusive}; label "
            "the images, or name columns with --labels",
        )
    if exclusive and (several := int((truth.sum(axis=1) != 1).sum())):
        raise Halt(
            "sample.invalid",
            f"{images}: {several} images show no label or several, and exclusive labels need one; "
            "train with --decision independent",
        )
    shown = truth[parts.chosen_on].sum(axis=0)
    for label, count in zip(sample.judged, shown.tolist(), strict=True):
        least = min(count, len(parts.chosen_on) - count)
        if least < LEAST:
            which = "show" if least == count else "do not show"
            raise Halt(
                "sample.invalid",
                f"{images}: {least} of the images to learn on {which} {label!r}, fewer than "
                f"{LEAST}; add images, or leave the label out",
            )


def _text(
    name: str,
    decision: Decision,
    labels: tuple[str, ...],
    model: ModelIdentity,
    weights: str,
    body: bytes,
) -> str:
    entries = "".join(
        f"  - name: {json.dumps(label)}\n    review_threshold: 0.5\n" for label in labels
    )
    return (
        f"name: {json.dumps(name)}\n"
        f"decision: {decision}\n"
        "actions: [review, none]\n"
        "default_action: none\n"
        "review_action: review\n"
        f"model:\n  name: {json.dumps(model.name)}\n  revision: {json.dumps(model.revision)}\n"
        f"head:\n  weights: {json.dumps(weights)}\n"
        f'  sha256: "{hashlib.sha256(body).hexdigest()}"\n'
        f"labels:\n{entries}"
    )


def _note(parts: Parts, embedded: Embedded) -> str:
    return (
        f"# Learnt by `clipstream labels train-head` on {datetime.now(UTC):%Y-%m-%d}, on "
        f"{len(parts.chosen_on)} images;\n# judged on {len(parts.held_out)} others; sample "
        f"sha256:{embedded.digest[:16]}.\n\n"
    )
