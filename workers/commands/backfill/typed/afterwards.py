"""`publish`, `rescore` and `erase`: they work on what a job has committed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from workers.commands.backfill.typed.options import Output
from workers.commands.options import Config, Set, load
from workers.logs import configure_logging


def publish(
    output: Output,
    config: Config = None,
    overrides: Set = None,
    share: Annotated[
        str,
        typer.Option(
            help="The part of the job to publish, for several publishers: 1/4 to 4/4 for four. At "
            "most 16 publishers.",
            metavar="NUMBER/COUNT",
        ),
    ] = "1/1",
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Publish the job from its beginning where Kafka has forgotten what was published. "
            "The events have the same ids as before.",
        ),
    ] = False,
) -> None:
    """Publish the events of committed shards to Kafka, each once.

    Run it again after any end: it goes on where it was. It may run while the job runs, and
    publishes what is committed when it starts. A publisher that starts takes over from an earlier
    one of the same share.

    Exit codes: 0 all that is committed is published, or stopped; 2 the settings are wrong; 3
    halted, a person must act.
    """
    settings = load(config, overrides, {}, must_read=False)
    configure_logging(settings.log, "publish")
    from workers.commands.backfill.publish import run_publish

    typer.echo(run_publish(settings, output, share, again=again))


def rescore(
    output: Output,
    label_sets: Annotated[
        list[Path],
        typer.Option(
            "--label-set",
            "-l",
            help="A YAML file with a label set, or a folder of such files; repeat it for more.",
            metavar="FILE",
        ),
    ],
    child: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="s3://BUCKET/PREFIX of the new scores. Default: beside the job's output, with a "
            "name that follows from the label sets.",
            metavar="OUTPUT",
        ),
    ] = None,
    config: Config = None,
    overrides: Set = None,
) -> None:
    """Score a job's rows with other label sets, from the embeddings that it wrote.

    No image is read. The new scores become a job of their own, with the rows of the first one in
    the same order and without embeddings. The first job stays as it is. A label set with a name of
    the first job scores the rows that had that label set; one with a new name scores all rows.

    The command shows which decisions change, with samples, and writes them to changes.json. The
    same command goes on after any end.

    Exit codes: 0 all rows of the job are scored; 2 the settings are wrong; 3 halted, a person must
    act; 6 shards are left: the command was stopped, or the job has not committed them yet.
    """
    settings = load(config, overrides, {}, must_read=False)
    configure_logging(settings.log, "rescore")
    from workers.commands.backfill.revising.rescore import run_rescore

    raise typer.Exit(run_rescore(settings, output, label_sets, child, Console()))


def erase(
    output: Output,
    keys: Annotated[
        Path,
        typer.Option(
            "--keys",
            help="A text file with an object a line: s3://BUCKET/KEY, or a key of any bucket. A "
            "line in double quotes is read as a JSON string.",
            metavar="FILE",
        ),
    ],
    config: Config = None,
    overrides: Set = None,
) -> None:
    """Take the rows of objects out of a job's files: results, failures, plan, samples.

    Files are rewritten on the condition that nobody else has changed them. Rows that stay keep
    their numbers. erased.json says what was erased and when, without keys. The command refuses
    while a driver runs the job; stop its workers first. The same command goes on after any end.

    Exit codes: 0 erased, or nothing to erase; 2 the settings or the file are wrong; 3 halted, a
    person must act.
    """
    settings = load(config, overrides, {}, must_read=False)
    configure_logging(settings.log, "erase")
    from workers.commands.backfill.revising.erase import run_erase

    raise typer.Exit(run_erase(settings, output, keys, Console()))
