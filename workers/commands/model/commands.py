"""The options of `clipstream model`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workers.commands.options import Config, Set, read
from workers.settings.loading import validated
from workers.settings.sources import Given

STORES = ("s3", "stores")
"""The sections of the settings that say how objects are read. Whatever copies a model needs no
others, above all not Kafka's password."""

app = typer.Typer(no_args_is_help=True)


@app.callback()
def model() -> None:
    """Copy a model to where a worker reads it."""


@app.command()
def fetch(
    source: Annotated[
        str,
        typer.Argument(
            help="s3://BUCKET/PREFIX: the folder with config.json and the weights.",
            metavar="SOURCE",
        ),
    ],
    directory: Annotated[
        Path,
        typer.Argument(
            help="Directory to copy to, for model.directory. Created if it is missing.",
            metavar="DIRECTORY",
        ),
    ],
    config: Config = None,
    overrides: Set = None,
    revision: Annotated[
        str | None,
        typer.Option(
            help="Accept only this revision: sha256:…, as events and this command show it. If the "
            "directory has it already, nothing is copied.",
            metavar="REVISION",
        ),
    ] = None,
) -> None:
    """Copy a checkpoint from S3 into a directory, for model.directory.

    Copies only files that affect an embedding, and checks that the checkpoint is complete before it
    replaces the one in the directory. The last line says the revision. Of the settings, only the
    sections s3 and stores are read. The bucket need not be among those that references may name.
    The credentials need s3:ListBucket and s3:GetObject.
    """
    bucket, _, key = source.removeprefix("s3://").partition("/")
    if not source.startswith("s3://") or not bucket:
        raise typer.BadParameter(f"{source}: is not an s3:// URI; write s3://BUCKET/PREFIX")
    prefix = key.strip("/")
    given = read(config, overrides, {})
    settings = validated(
        Given(
            {name: given.values[name] for name in STORES if name in given.values},
            given.sources,
            given.unread,
        )
    )
    # Imported here because the clients of S3 and of the hub take seconds to import.
    from workers.commands.model.fetch import Origin, fetch_checkpoint

    origin = Origin(settings.s3_store_named(bucket), bucket, prefix and f"{prefix}/")
    fetched = fetch_checkpoint(origin, directory, revision, typer.echo)
    typer.echo(f"{directory}: {fetched.name} at {fetched.revision}")
