"""Options that commands share, ``--config`` and ``--set``, and the settings that they give."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workers.logs import configure_logging
from workers.settings.loading import Settings, read_settings, validated
from workers.settings.sources import Given

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Settings file (YAML). Default: $CLIPSTREAM_CONFIG.",
        metavar="FILE",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        help="Override one setting, for example -s kafka.group=live.",
        metavar="KEY=VALUE",
    ),
]


def load(
    config: Path | None,
    overrides: list[str] | None,
    flags: dict[str, Any],
    *,
    must_read: bool = True,
) -> Settings:
    """Settings of a command. ``must_read``: the command reads objects, so it needs a store."""
    return validated(read(config, overrides, flags), must_read=must_read)


def log_here(settings: Settings, process: str) -> Settings:
    """Set up this process's log. The result lets remote workers log in the same format."""
    settings = settings.model_copy(update={"log": settings.log.resolved()})
    configure_logging(settings.log, process)
    return settings


def read(config: Path | None, overrides: list[str] | None, flags: dict[str, Any]) -> Given:
    """The given values, from the file, the environment, then flags: ``--set`` before named
    options."""
    given: dict[str, Any] = {}
    for override in overrides or []:
        key, sign, value = override.partition("=")
        if not sign:
            raise typer.BadParameter(f"{override}: write KEY=VALUE, as in kafka.group=live")
        given[key.strip()] = value
    return read_settings(config, given | {key: v for key, v in flags.items() if v is not None})
