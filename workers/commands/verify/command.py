"""The options of `clipstream verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from workers.commands.options import Config, Set, load
from workers.logs import configure_logging


def verify(
    uri: Annotated[
        str, typer.Argument(help="s3://BUCKET/KEY of an image to classify.", metavar="OBJECT")
    ],
    config: Config = None,
    overrides: Set = None,
    upload: Annotated[
        str | None,
        typer.Option(
            help="Upload this image file to OBJECT first, and delete OBJECT afterwards. "
            "`bundled`: a small image that Clipstream brings along. OBJECT must not exist yet.",
            metavar="FILE",
        ),
    ] = None,
    topic_prefix: Annotated[
        str,
        typer.Option(
            help="First part of the names of the topics and the group that are created and "
            "removed.",
            metavar="NAME",
        ),
    ] = "clipstream.verify",
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout",
            help="Longest wait for the outcome, once the model is loaded.",
            min=1,
            metavar="SECONDS",
        ),
    ] = 120.0,
) -> None:
    """Classify one object end to end with these settings, and print each step.

    Creates topics and a consumer group of its own, runs one worker in this process, reads the
    outcome as consumers do, and removes what it created. The stream's own topics and group are not
    touched. Uses a GPU if there is one. Needs no Ray.

    Exit codes: 0 the object was classified; 1 a step failed, and the message says which and why; 2
    the settings or the arguments are wrong.
    """
    settings = load(config, overrides, {})
    configure_logging(settings.log, "verify")
    from workers.commands.verify.run import Request, run_verify

    passed = run_verify(settings, Request(uri, upload, topic_prefix, timeout_s), typer.echo)
    raise typer.Exit(0 if passed else 1)
