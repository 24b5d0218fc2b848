"""`clipstream keys`: the keys with which clients call the server."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from pipeline.errors import Halt
from workers.audit import Act, note, operator
from workers.commands.options import Config, Set, read
from workers.logs import LogPolicy, configure_logging
from workers.serve.admission.key_file import (
    HEADER,
    MOST_LIVE,
    KeyEntry,
    changing,
    contents,
    new_key,
    parsed,
)
from workers.serve.caller import Scope
from workers.settings.loading import validated_section
from workers.settings.serve import ServePolicy

DURATION = re.compile(r"(\d{1,5})(h|d|w)")
HOURS = {"h": 1, "d": 24, "w": 24 * 7}

COLUMNS = (
    "id",
    "name",
    "state",
    "rate",
    "scopes",
    "label sets",
    "tenants",
    "objects",
    "further",
)
"""Columns of `keys list`."""

app = typer.Typer(no_args_is_help=True)

File = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        help="File of keys. Default: serve.keys of the settings. A new file is readable by its "
        "owner alone.",
    ),
]


@app.callback()
def keys() -> None:
    """Create, list and revoke the keys of clients."""


@app.command()
def create(
    name: Annotated[
        str,
        typer.Argument(help="Who uses the key. Logs and metrics show this name.", metavar="NAME"),
    ],
    file: File = None,
    expires: Annotated[
        str | None,
        typer.Option(
            help="When the key ends: after 12h, 90d or 8w, or at a time such as "
            "2027-01-31T00:00:00Z. Default: never.",
            metavar="WHEN",
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Images a second, on average. Each of n replicas grants an n-th. "
            "Default: no bound.",
            min=0.001,
            metavar="IMAGES",
        ),
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option(
            help="Images at once. Default: those of 10 seconds at the rate.",
            min=1,
            metavar="IMAGES",
        ),
    ] = None,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What the key may do; once for each scope. Default: classify."),
    ] = None,
    label_set: Annotated[
        list[str] | None,
        typer.Option(help="Label set that the key may use, such as pets or shop-*. Default: all."),
    ] = None,
    tenant: Annotated[
        list[str] | None,
        typer.Option(help="Tenant whose outcomes the key may see. Default: all."),
    ] = None,
    objects: Annotated[
        list[str] | None,
        typer.Option(
            "--objects",
            help="Objects that the key may have the server read, and see: bucket, bucket/folder/ "
            "or bucket/pattern*, and https://host, https://host/folder/ or https://host/pattern*. "
            "Default: all that the server may read. Images inside a request are not bounded.",
        ),
    ] = None,
    ignore_text: Annotated[
        bool,
        typer.Option("--ignore-text", help="Moderations pass over text beside an image."),
    ] = False,
    priority: Annotated[
        Literal["live", "batch"],
        typer.Option(help="batch: the key gets what keys of the priority live leave."),
    ] = "live",
    proxy: Annotated[
        bool,
        typer.Option(
            "--proxy",
            help="The key is for a proxy that signs people in and names them in "
            "serve.identity_header.",
        ),
    ] = False,
    print_only: Annotated[
        bool,
        typer.Option(
            "--print",
            help="Write no file. The hashed line goes to standard output, for a Kubernetes "
            "Secret, and the key to standard error.",
        ),
    ] = False,
    config: Config = None,
    overrides: Set = None,
) -> None:
    """Make a key and print it, once. The file holds only its hash.

    A name may have two live keys: create the second with all its options, hand it out, then revoke
    the first. A running server takes changes over within serve.keys_reload_interval_s.
    """
    key, key_id, hashed = new_key()
    if rate is not None and burst is None:
        burst = max(1, round(rate * 10))
    try:
        entry = KeyEntry(
            id=key_id,
            name=name,
            sha256=hashed,
            expires=None if expires is None else _end(expires),
            images_per_s=rate,
            burst=burst,
            scopes=tuple(dict.fromkeys(scope or [Scope.CLASSIFY])),
            label_sets=_patterns(label_set),
            tenants=_patterns(tenant),
            objects=_patterns(objects),
            ignore_text=ignore_text,
            priority=priority,
            proxy=proxy,
        )
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "rate"
        raise typer.BadParameter(f"{where}: {first['msg']}") from invalid
    _audit(config, overrides)
    made = f"key {key_id} of {name}"
    if print_only:
        note(Act.CREATED, operator(), f"{made}, printed")
        typer.echo(entry.line(), nl=False)
        typer.echo(f"key (shown once): {key}", err=True)
        return
    path = _path(file, config, overrides)
    with changing(path) as replace:
        text = path.read_text(encoding="utf-8") if path.exists() else HEADER
        now_s = time.time()
        live = [
            each.id for each in _entries(path, text) if each.name == name and each.is_live(now_s)
        ]
        if len(live) >= MOST_LIVE:
            raise Halt(
                "keys.too_many_live",
                f"keys: {name} has {len(live)} live keys ({', '.join(live)}); revoke one first: "
                f"clipstream keys revoke {live[0]}",
            )
        replace(text + ("" if text.endswith("\n") else "\n") + entry.line())
    note(Act.CREATED, operator(), f"{made} in {path}")
    typer.echo(key)
    typer.echo(
        f"{path}: {name} has the key {key_id}. It is shown once; send it as `Authorization: Bearer "
        "…`",
        err=True,
    )


@app.command("list")
def list_keys(file: File = None, config: Config = None, overrides: Set = None) -> None:
    """Show the keys of a file or a folder, without their hashes, and check them."""
    path = _path(file, config, overrides)
    table = Table()
    for column in COLUMNS:
        # People copy the id into `keys revoke`.
        table.add_column(column, overflow="fold", no_wrap=column == "id")
    for entry in parsed(contents(path)):
        table.add_row(
            entry.id,
            entry.name,
            _state(entry),
            "any" if entry.images_per_s is None else f"{entry.images_per_s:g}/s, {entry.burst}",
            ", ".join(entry.scopes),
            *(
                "all" if each is None else "\n".join(each)
                for each in (entry.label_sets, entry.tenants, entry.objects)
            ),
            ", ".join(_further(entry)),
        )
    Console().print(table)


@app.command()
def revoke(
    key_id: Annotated[
        str, typer.Argument(help="Id of the key, as `keys list` shows it.", metavar="ID")
    ],
    file: File = None,
    config: Config = None,
    overrides: Set = None,
) -> None:
    """Remove a key from its file. A running server refuses it after its next look at the file."""
    path = _path(file, config, overrides)
    with changing(path) as replace:
        ((_, content),) = contents(path)
        text = content.decode()
        entries = _entries(path, text)
        if key_id not in {entry.id for entry in entries}:
            of_name = [entry.id for entry in entries if entry.name == key_id]
            hint = f"; {key_id} is a name, its keys are {', '.join(of_name)}" if of_name else ""
            raise Halt("keys.unknown", f"keys: {path} has no key with the id {key_id!r}{hint}")
        kept = "".join(
            line
            for line in text.splitlines(keepends=True)
            if all(entry.id != key_id for entry in _entries(path, line))
        )
        # An empty file would be taken for one that is still being written.
        replace(kept or HEADER)
    _audit(config, overrides)
    name = next(entry.name for entry in entries if entry.id == key_id)
    note(Act.REVOKED, operator(), f"key {key_id} of {name} in {path}")
    typer.echo(f"{path}: {key_id} is revoked", err=True)


def _audit(config: Path | None, overrides: list[str] | None) -> None:
    """Write the audit log as the settings say."""
    given = read(config, overrides, {})
    configure_logging(validated_section(given, "log", LogPolicy), "keys")


def _path(file: Path | None, config: Path | None, overrides: list[str] | None) -> Path:
    path = file or validated_section(read(config, overrides, {}), "serve", ServePolicy).keys
    if path is None:
        raise Halt("keys.no_file", "keys: no file is named; write --file keys, or set serve.keys")
    return path


def _entries(path: Path, text: str) -> tuple[KeyEntry, ...]:
    return parsed([(path, text.encode() or b"\n")])


def _patterns(given: list[str] | None) -> tuple[str, ...] | None:
    return tuple(given) if given else None


def _further(entry: KeyEntry) -> Iterator[str]:
    """Options of `keys create` that no other column shows."""
    if entry.ignore_text:
        yield "ignore-text"
    if entry.proxy:
        yield "proxy"


def _state(entry: KeyEntry) -> str:
    if entry.expires is None:
        return entry.priority
    until = f"{entry.expires.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return f"{entry.priority} until {until}" if entry.is_live(time.time()) else f"expired {until}"


def _end(when: str) -> datetime:
    duration = DURATION.fullmatch(when)
    if duration is not None:
        return datetime.now(UTC).replace(microsecond=0) + timedelta(
            hours=int(duration[1]) * HOURS[duration[2]]
        )
    try:
        end = datetime.fromisoformat(when)
    except ValueError:
        end = None
    if end is None or end.tzinfo is None:
        raise typer.BadParameter(
            f"--expires: {when} is neither a duration nor a time with its zone; write 90d, or "
            "2027-01-31T00:00:00Z"
        )
    return end
