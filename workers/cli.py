"""The command line: `clipstream …`. Parses, loads settings, and hands over to a command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import Halt, Retry
from pipeline.halts import is_of_input
from workers.commands import keys
from workers.commands.backfill import commands as backfills
from workers.commands.config import config
from workers.commands.drift import commands as drifts
from workers.commands.evaluate import evaluate
from workers.commands.explain import explain
from workers.commands.labels import commands as labels
from workers.commands.model import commands as models
from workers.commands.options import Config, Set, load, log_here
from workers.commands.verify.command import verify
from workers.demo.command import demo
from workers.logs import configure_logging
from workers.supervise.supervisor import ExitCode

app = typer.Typer(
    name="clipstream",
    no_args_is_help=True,
    add_completion=False,
    # Without this mode, help lines would break where the docstring's lines break.
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Classify images as they arrive: references from Kafka, objects from S3, CLIP on GPUs, "
    "outcomes back to Kafka, exactly once.",
)
app.add_typer(backfills.app, name="backfill")
app.add_typer(drifts.app, name="drift")
app.add_typer(keys.app, name="keys")
app.add_typer(labels.app, name="labels")
app.add_typer(models.app, name="model")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"clipstream {version('clipstream')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options common to all commands."""


app.command()(demo)


@app.command()
def stream(
    config: Config = None,
    overrides: Set = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            "-w",
            help="Workers that this driver runs. Overrides workers.count; with workers.max_count, "
            "this is the smallest number.",
            min=1,
            metavar="NUMBER",
        ),
    ] = None,
    until_idle: Annotated[
        float | None,
        typer.Option(
            help="End when nothing arrives for this many seconds and everything is committed.",
            min=0.1,
            metavar="SECONDS",
        ),
    ] = None,
) -> None:
    """Classify references as they arrive, until stopped.

    Joins the Ray cluster that RAY_ADDRESS names, or starts a local one. On SIGINT and SIGTERM the
    workers take in no more, finish their work, commit and end.

    Exit codes: 0 stopped or idle; 2 the settings are wrong; 3 halted, a person must act; 4 crash
    loop; 5 stopped, but a worker had to be killed.
    """
    settings = log_here(load(config, overrides, {"workers.count": workers}), "driver")
    # Imported here because importing torch takes seconds, and a mistyped setting should fail at
    # once.
    from workers.commands.stream import run_stream

    raise typer.Exit(run_stream(settings, until_idle))


@app.command()
def serve(
    config: Config = None,
    overrides: Set = None,
    host: Annotated[
        str | None, typer.Option(help="Overrides serve.host.", metavar="ADDRESS")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Overrides serve.port.", min=1, max=65535, metavar="PORT")
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(help="Overrides serve.min_replicas.", min=1, metavar="NUMBER"),
    ] = None,
    with_stream: Annotated[
        bool,
        typer.Option(
            "--with-stream", help="Also run the stream's workers, as `clipstream stream` does."
        ),
    ] = False,
) -> None:
    """Answer HTTP requests for classifications, until stopped.

    Joins the Ray cluster that RAY_ADDRESS names, or starts a local one. Prints the address and a
    line to try once the model is loaded. On SIGINT and SIGTERM the replicas refuse new requests
    and answer those in flight.

    Exit codes: 0 stopped; 2 the settings are wrong; 3 halted, a person must act; 4 crash loop.
    """
    flags = {"serve.host": host, "serve.port": port, "serve.min_replicas": replicas}
    settings = log_here(load(config, overrides, flags, must_read=with_stream), "driver")
    from workers.commands.serving.serve import run_serve

    raise typer.Exit(run_serve(settings, typer.echo, with_stream=with_stream))


@app.command()
def doctor(
    config: Config = None,
    overrides: Set = None,
    create_topics: Annotated[
        bool, typer.Option("--create-topics", help="Create missing topics with suitable settings.")
    ] = False,
    partitions: Annotated[
        int, typer.Option(help="Partitions of created topics.", min=1, metavar="NUMBER")
    ] = 12,
    replication: Annotated[
        int,
        typer.Option(
            help="Replicas of created topics. -1: the broker's default.", min=-1, metavar="NUMBER"
        ),
    ] = -1,
    nodes: Annotated[
        bool,
        typer.Option(
            "--nodes",
            help="Also check every node of the Ray cluster that RAY_ADDRESS names: files, "
            "credentials, versions, decoders, devices.",
        ),
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            help="Also check that backfills can write to s3://BUCKET/PREFIX, and whether its store "
            "keeps the conditions of conditional writes.",
            metavar="OUTPUT",
        ),
    ] = None,
    backfill_topics: Annotated[
        bool,
        typer.Option(
            "--backfill-topics",
            help="Also check, or create, the topics that `clipstream backfill publish` writes to.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each check, one a line.")
    ] = False,
) -> None:
    """Check Kafka, its topics and permissions, each store, the label sets, the model, the device.

    Each failed check says what to do. The exit code is 1 if a check failed.
    """
    settings = load(config, overrides, {})
    configure_logging(settings.log, "doctor")
    from rich.console import Console

    from workers.commands.doctor import NewTopics, run_doctor

    create = NewTopics(partitions, replication) if create_topics else None
    passed = run_doctor(
        settings,
        Console(soft_wrap=True),
        create,
        nodes=nodes,
        backfill_topics=backfill_topics,
        output=output,
        as_json=as_json,
    )
    raise typer.Exit(0 if passed else 1)


@app.command()
def calibrate(
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Image files or folders: some hundred images, chosen at random from those that "
            "you classify.",
            metavar="IMAGES",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="New directory, to be named in model.calibration."),
    ],
    config: Config = None,
    overrides: Set = None,
    limit: Annotated[
        int, typer.Option(help="Use at most this many images.", min=1, metavar="NUMBER")
    ] = 320,
) -> None:
    """Quantize the model to int8 for a CPU, with images like those that you classify.

    Some images are held out. A worker with model.precision int8 starts only if the embeddings of
    the held-out images match those in fp32 within model.min_fidelity. Needs clipstream[int8].
    """
    settings = load(config, overrides, {}, must_read=False)
    configure_logging(settings.log, "calibrate")
    from rich.console import Console

    from workers.commands.calibrate import run_calibrate

    run_calibrate(settings, Console(), sources=images, output=output, limit=limit)


@app.command()
def enqueue(
    source: Annotated[
        str,
        typer.Argument(
            help="s3://BUCKET/PREFIX, or a file with one s3:// or https:// URI or JSON reference "
            "on each line.",
            metavar="SOURCE",
        ),
    ],
    config: Config = None,
    overrides: Set = None,
    topic: Annotated[
        str | None, typer.Option(help="Input topic. Default: the first.", metavar="NAME")
    ] = None,
    label_set: Annotated[
        str | None,
        typer.Option(help="Label set to ask for. The route must allow it.", metavar="NAME"),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Publish at most this many.", min=1, metavar="NUMBER")
    ] = None,
) -> None:
    """Publish references for the objects of an S3 prefix or of a list.

    The whole list is checked before anything is published. Workers refuse buckets that no store's
    allowed_buckets name (s3.allowed_buckets, stores).
    """
    settings = load(config, overrides, {})
    configure_logging(settings.log, "enqueue")
    from rich.console import Console

    from workers.commands.enqueue import run_enqueue

    run_enqueue(
        settings,
        Console(),
        source=source,
        topic=topic,
        label_set=label_set,
        limit=limit,
    )


@app.command()
def replay(
    config: Config = None,
    overrides: Set = None,
    code: Annotated[
        list[str] | None,
        typer.Option(
            help="Only letters with this code or of this stage (fetch.*). May be repeated.",
            metavar="CODE",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Only letters written at this time or later.", metavar="TIME"),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only letters written before this time.", metavar="TIME")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="Only letters whose record key or subject matches. * stands for any characters.",
            metavar="PATTERN",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All letters.")] = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="Send the letters. Without this they are only shown.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(help="Replay at most this many.", min=1, metavar="NUMBER")
    ] = None,
    max_replays: Annotated[
        int,
        typer.Option(
            help="Skip letters whose reference was replayed this often already.",
            min=1,
            metavar="NUMBER",
        ),
    ] = 3,
    as_routed: Annotated[
        bool,
        typer.Option(
            "--as-routed",
            help="For letters of older releases, which do not say what their sender asked for: let "
            "the routes decide again. Without this, ask for what the route had decided.",
        ),
    ] = False,
) -> None:
    """Send dead letters back to their input topic, each reference once more.

    Without --publish the command only shows what it would send. The transaction that sends a
    letter also marks it on the dead-letter topic, so that no letter is sent twice. TIME is written
    like 2026-01-31T18:00:00Z.
    """
    settings = load(config, overrides, {}, must_read=False)
    configure_logging(settings.log, "replay")
    from rich.console import Console

    from workers.commands.replay import run_replay, selected

    run_replay(
        settings,
        Console(),
        selection=selected(code or [], since, until, key, everything=everything),
        publish=publish,
        limit=limit,
        max_replays=max_replays,
        as_routed=as_routed,
    )


app.command()(verify)
app.command()(explain)

app.command()(evaluate)

# It needs no heavy library, so its options stand beside what it does.
app.command()(config)


def main() -> None:
    """Entry point. Prints an expected failure as code and message on standard error, without a
    traceback."""
    try:
        app()
    except Halt as halt:
        typer.secho(str(halt), err=True)
        sys.exit(ExitCode.USAGE if is_of_input(halt.code) else ExitCode.HALTED)
    except Retry as failure:
        typer.secho(f"{failure}; try again later", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
