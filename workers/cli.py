"""The command line: `clipstream …`. Parses, loads settings, and hands over to a command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.errors import Halt, Retry
from workers.commands import labels
from workers.logs import configure_logging
from workers.settings import Loaded, load_settings, plain_or_json
from workers.supervise import ExitCode

app = typer.Typer(
    name="clipstream",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Classify images as they arrive: references from Kafka, objects from S3, CLIP on GPUs, "
    "outcomes back to Kafka, exactly once.",
)
app.add_typer(labels.app, name="labels")

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings file (YAML); default: $CLIPSTREAM_CONFIG."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", help="Override one setting, as in -s kafka.group=live.", metavar="KEY=VALUE"
    ),
]


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
    """Options of every command."""


@app.command()
def stream(
    config: Config = None,
    overrides: Set = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-w", help="Workers that this driver runs.", min=1)
    ] = None,
    until_idle: Annotated[
        float | None,
        typer.Option(
            help="End when nothing has arrived for so many seconds and everything is committed.",
            min=0.1,
            metavar="SECONDS",
        ),
    ] = None,
) -> None:
    """Classify references as they arrive, until stopped.

    Joins the Ray cluster that RAY_ADDRESS names, or starts a local one. SIGINT and SIGTERM stop
    intake, finish what is begun, commit and leave.

    Exit codes: 0 stopped or idle; 2 the settings are wrong; 3 halted, a person must act; 4 crash
    loop; 5 stopped, but a worker had to be killed.
    """
    from workers.commands.stream import run_stream

    loaded = load(config, overrides, {"workers.count": workers})
    configure_logging(loaded.settings.log, "driver")
    raise typer.Exit(run_stream(loaded.settings, until_idle))


@app.command()
def doctor(
    config: Config = None,
    overrides: Set = None,
    create_topics: Annotated[
        bool, typer.Option("--create-topics", help="Create missing topics with sound settings.")
    ] = False,
    partitions: Annotated[int, typer.Option(help="Of created topics.", min=1)] = 12,
    replication: Annotated[
        int, typer.Option(help="Replicas of created topics; -1: the broker's default.", min=-1)
    ] = -1,
) -> None:
    """Check Kafka, its topics and permissions, S3, the model, the device.

    Each check that does not pass says what to do. Exit code 1 if one failed.
    """
    from rich.console import Console

    from workers.commands.doctor import run_doctor

    loaded = load(config, overrides, {})
    configure_logging(loaded.settings.log, "doctor")
    passed = run_doctor(
        loaded.settings,
        Console(soft_wrap=True),
        create_topics=create_topics,
        partitions=partitions,
        replication=replication,
    )
    raise typer.Exit(0 if passed else 1)


@app.command()
def enqueue(
    source: Annotated[
        str,
        typer.Argument(
            help="s3://BUCKET/PREFIX, or a file with an s3:// URI or a JSON reference a line."
        ),
    ],
    config: Config = None,
    overrides: Set = None,
    topic: Annotated[str | None, typer.Option(help="Input topic; default: the first.")] = None,
    label_set: Annotated[
        str | None, typer.Option(help="Label set to ask for; the route must allow it.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Publish at most so many.", min=1)] = None,
) -> None:
    """Publish references for the objects of an S3 prefix or of a list."""
    from rich.console import Console

    from workers.commands.enqueue import run_enqueue

    loaded = load(config, overrides, {})
    configure_logging(loaded.settings.log, "enqueue")
    run_enqueue(
        loaded.settings,
        Console(),
        source=source,
        topic=topic,
        label_set=label_set,
        limit=limit,
    )


@app.command()
def config(
    config: Config = None,
    overrides: Set = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is no default.")] = False,
    yaml: Annotated[bool, typer.Option("--yaml", help="As a settings file.")] = False,
) -> None:
    """Print the effective settings with their origin, secrets redacted."""
    from rich.console import Console

    from workers.commands.config import as_yaml, print_table

    loaded = load(config, overrides, {})
    if yaml:
        typer.echo(as_yaml(loaded), nl=False)
    else:
        print_table(loaded, Console(), changed)


def load(config: Path | None, overrides: list[str] | None, flags: dict[str, Any]) -> Loaded:
    """Settings of a command: file, environment, then flags, ``--set`` before named ones."""
    given: dict[str, Any] = {}
    for override in overrides or []:
        key, sign, value = override.partition("=")
        if not sign:
            raise typer.BadParameter(f"{override}: write KEY=VALUE, as in kafka.group=live")
        given[key.strip()] = plain_or_json(value)
    return load_settings(config, given | {key: v for key, v in flags.items() if v is not None})


def main() -> None:
    """Entry point. An expected failure is one message on standard error, not a traceback."""
    try:
        app()
    except Halt as halt:
        typer.secho(halt.message, err=True)
        wrong_input = halt.code.startswith(("settings.", "label_set."))
        sys.exit(ExitCode.USAGE if wrong_input else ExitCode.HALTED)
    except Retry as failure:
        typer.secho(f"{failure.message}; try again later", err=True)
        sys.exit(1)
