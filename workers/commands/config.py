"""`clipstream config`: the effective settings and where each comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.text import Text

from pipeline.errors import Halt
from pipeline.policy import Tier
from workers.cluster.reservation import decided_before
from workers.commands.options import Config, Set, read
from workers.settings.loading import CATALOGUE, Settings, validated
from workers.settings.problems import REDACTED, masked, named
from workers.settings.sources import Given

GPUS = "workers.gpus_per_worker"
OF_THE_NODE = frozenset(
    ("workers.cpus_per_worker", "decode.processes", "model.threads", "batch.max_size")
)
"""Settings whose null is fitted to the worker's node."""

ENTRIES = ("routes", "stores")
"""Lists whose entries have a row each."""


@dataclass(frozen=True, slots=True)
class Row:
    """A setting as it is shown. ``origin`` is ``default``, ``file:LINE``, ``environment`` or
    ``flag``."""

    path: str
    origin: str
    value: str
    tier: Tier
    note: str = ""
    """The actual value, if it is decided elsewhere."""


def config(
    config: Config = None,
    overrides: Set = None,
    tier: Annotated[
        Tier, typer.Option("--tier", help="Show the settings of all tiers up to this one.")
    ] = Tier.EVERYDAY,
    changed: Annotated[
        bool, typer.Option("--changed", help="Show only settings that were set.")
    ] = False,
    as_file: Annotated[
        bool,
        typer.Option("--yaml", help="Print a settings file of all tiers, without secrets."),
    ] = False,
) -> None:
    """Print the effective settings with their origin, secrets redacted.

    Shows the everyday settings and all settings that were set. --tier tuning adds the settings
    that fit a deployment to its load and its machines. --tier expert adds all others.

    If the settings are not valid, the command prints the given values, and the problems on
    standard error.
    """
    given = read(config, overrides, {})
    invalid: Halt | None = None
    settings: Settings | None = None
    try:
        settings = validated(given, must_read=True)
    except Halt as halt:
        invalid = halt
    if settings is None or not as_file:
        print_table(given, settings, Console(), changed_only=changed, tier=tier)
    else:
        typer.echo(as_yaml(settings, changed_only=changed), nl=False)
    if invalid is not None:
        raise invalid


def print_table(
    given: Given,
    settings: Settings | None,
    console: Console,
    *,
    changed_only: bool = False,
    tier: Tier = Tier.EVERYDAY,
) -> None:
    """One line for each setting, never cut or wrapped: the settings that were set, and unless
    ``changed_only`` also those of the tiers up to ``tier``. If the settings are not valid, the
    given values are shown."""
    shown = () if changed_only else _up_to(tier)
    every = list(effective(given, settings))
    rows = [row for row in every if row.tier in shown or row.origin != "default"]
    of_path, of_origin = (
        max((len(text) for text in texts), default=0)
        for texts in ([row.path for row in rows], [row.origin for row in rows])
    )
    for row in rows:
        note = f"  # {row.note}" if row.note else ""
        line = f"{row.path:<{of_path}}  {row.origin:<{of_origin}}  {row.value}{note}"
        console.print(Text(line, "dim" if row.origin == "default" else ""), soft_wrap=True)
    if tier is not Tier.EXPERT and not changed_only:
        line = f"# {len(every) - len(rows)} more are at their defaults; --tier tuning or expert"
        console.print(Text(line, "dim"), soft_wrap=True)


def _up_to(tier: Tier) -> tuple[Tier, ...]:
    tiers = tuple(Tier)
    return tiers[: tiers.index(tier) + 1]


def effective(given: Given, settings: Settings | None) -> Iterator[Row]:
    """Every setting in the order of the reference, secrets redacted. Each route and each further
    store has a row, without its defaults."""
    valid = Given(settings.model_dump(mode="json")) if settings else given
    short = settings.model_dump(mode="json", exclude_defaults=True) if settings else {}
    for path, setting in CATALOGUE.settings.items():
        if "[]" in path:
            continue
        value = valid.value(path, setting.default)
        if path in ENTRIES and isinstance(value, list) and value:
            if settings:
                value = short[path]
            for index, entry in enumerate(value):
                place = f"{path}[{index}]"
                row = masked(as_text(entry))
                yield Row(named(place, valid), _origin(given, place, path), row, setting.tier)
            continue
        text = REDACTED if setting.secret and value is not None else masked(as_text(value))
        note = _note(path, value, settings)
        yield Row(path, _origin(given, path), text, setting.tier, note)


def _note(path: str, value: Any, settings: Settings | None) -> str:
    if path in OF_THE_NODE and value is None:
        return "fitted to the worker's node; the worker logs it when it starts"
    if path != GPUS or value != "auto" or settings is None:
        return ""
    decided = decided_before(settings)
    if decided is None:
        return "decided at the start: 1 if the Ray cluster has GPUs, else 0; doctor shows it"
    return f"{decided[0]:g}: {decided[1]}"


def as_text(value: Any) -> str:
    """A value as YAML reads it: a bare text if it stays a text, otherwise JSON."""
    if isinstance(value, str | Path):
        text = str(value)
        try:
            if yaml.safe_load(text) == text and "\n" not in text:
                return text
        except (yaml.YAMLError, ValueError):
            pass  # needs quotes
    return json.dumps(value, ensure_ascii=False, default=str)


def as_yaml(settings: Settings, *, changed_only: bool) -> str:
    """The effective settings as a file that ``--config`` reads, without secrets."""
    values: dict[str, Any] = settings.model_dump(mode="json", exclude_unset=changed_only)
    comment = ""
    for path, setting in CATALOGUE.settings.items():
        *sections, name = path.split(".")
        section = values
        for each in sections:
            section = section.get(each, {})
        if setting.secret and section.pop(name, None) is not None:
            comment += f"# {path} is left out; set it with {setting.variable}\n"
    filled = {name: value for name, value in values.items() if value != {}}
    return comment + yaml.safe_dump(filled, sort_keys=False, allow_unicode=True)


def _origin(given: Given, *paths: str) -> str:
    source = next((given.sources[path] for path in paths if path in given.sources), None)
    if source is None:
        return "default"
    line = source.where.rpartition(":")[2]
    return f"file:{line}" if source.origin == "file" and line.isdigit() else source.origin
