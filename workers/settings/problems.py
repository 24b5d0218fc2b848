"""Messages about wrong settings. Each problem has one line: the key, what to write, where it was
set.

The value of a secret, of a section or of an unknown key is never shown, because a password can
stand in a wrong place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.adapters.s3.policy import STORE_NAME
from pipeline.complaints import alike, dotted, instead, kind, said
from workers.settings.catalogue import Catalogue, Setting, variable_of
from workers.settings.sources import Given, Source

REDACTED = "**********"

_USERINFO = re.compile(r"(?<=://)[^\s\"]*@")
"""The part before the host in a URL, which may hold a password."""

_ENTRY = re.compile(r"stores\[(?P<index>\d+)\](?P<rest>.*)", re.DOTALL)

LONGEST_SHOWN = 60
"""Most characters of a value in a message."""


def problem_lines(
    errors: Iterable[Mapping[str, Any]], catalogue: Catalogue, given: Given
) -> list[str]:
    """Lines for the problems of the file's YAML, then for pydantic's errors, one for each value, in
    their order. A value whose YAML is wrong is not judged a second time."""
    lines = [_line(each.path, each.message, given, each.source) for each in given.unread]
    told = {(each.path, each.source) for each in given.unread}
    messages: dict[str, str] = {}
    for error in errors:
        path = _path(error["loc"], catalogue)
        if error["type"] == "extra_forbidden":
            message = _unknown(path, catalogue, given.source(path))
        elif error["type"] == "value_error":
            path, message = _complaint(path, said(error["msg"]), catalogue)
        else:
            message = _wrong(path, error["input"], catalogue)
        # Each choice of a type has an error, and so has a list in addition to its entries. Keep
        # one.
        if not any(found == path or found.startswith(f"{path}[") for found in messages):
            messages[path] = message
    return lines + [
        _line(path, message, given, _source(path, message, given))
        for path, message in messages.items()
        if (path, given.source(path)) not in told
    ]


def _source(path: str, message: str, given: Given) -> Source | None:
    # In a wrong combination, the other setting may be the one that was set.
    mentioned = (source for each, source in given.sources.items() if each in message)
    return given.source(path) or next(mentioned, None)


def _line(path: str, message: str, given: Given, source: Source | None) -> str:
    return f"  {named(path, given)}: {message}" + (f" [{source.where}]" if source else "")


def named(path: str, given: Given) -> str:
    """The path as people read it: an entry of `stores` has its name, as in the log and in dead
    letters. The index stands for an entry without a name of its own, and in a problem of the name
    itself."""
    entry = _ENTRY.match(path)
    stores = given.value("stores", None)
    if entry is None or entry["rest"] == ".name" or not isinstance(stores, list | tuple):
        return path
    names = [each.get("name") if isinstance(each, Mapping) else None for each in stores]
    name = names[int(entry["index"])]
    plain = isinstance(name, str) and STORE_NAME.fullmatch(name) and name != "s3"
    return f"stores[{name}]{entry['rest']}" if plain and names.count(name) == 1 else path


def _path(location: Sequence[str | int], catalogue: Catalogue) -> str:
    """The dotted path of a place in the settings. Parts that pydantic adds below a setting, to tell
    the choices of its type apart, are left out."""
    path: list[str | int] = []
    for part in location:
        if isinstance(part, int) or general(dotted(path)) not in catalogue.settings:
            path.append(part)
    return dotted(path)


def general(path: str) -> str:
    """The path with ``[]`` for every entry, as in the catalogue."""
    first, *rest = path.split("[")
    return first + "".join(f"[]{each.partition(']')[2]}" for each in rest)


def _unknown(path: str, catalogue: Catalogue, source: Source | None) -> str:
    if path in catalogue.settings:
        section, _, name = path.rpartition(".")
        return f"a dotted key; write {name} in the section {section}"
    known = [*catalogue.settings, *catalogue.sections]
    of_environment = source is not None and source.origin == "environment"
    if of_environment:  # a list is one variable; its entries have none
        known = [each for each in known if "[]" not in each]
    near = [variable_of(each) if of_environment else each for each in _near(path, known, catalogue)]
    names = _names(general(path).rpartition(".")[0], catalogue)
    return f"no such setting; {instead(near, names)}"


def _near(path: str, known: Sequence[str], catalogue: Catalogue) -> list[str]:
    """The known paths that may have been meant: the same words with other separators, the name in
    another section, a similar path, or a similar name in this section."""
    section, _, name = general(path).rpartition(".")
    flat = path.replace(".", "_")
    if same := [each for each in known if each.replace(".", "_") == flat]:
        return same
    if elsewhere := [each for each in known if each.rpartition(".")[2] == name]:
        return elsewhere
    if like := alike(general(path), known, cutoff=0.75):
        return like
    beside = alike(name, _names(section, catalogue))
    return [f"{section}.{each}".removeprefix(".") for each in beside]


def _names(section: str, catalogue: Catalogue) -> list[str]:
    """Names directly in a section, or at the top."""
    paths = (each.rpartition(".") for each in (*catalogue.settings, *catalogue.sections))
    names = (name for around, _, name in paths if around == section and not name.endswith("[]"))
    return list(names)


def _complaint(path: str, message: str, catalogue: Catalogue) -> tuple[str, str]:
    """The path and the text of a message from a policy's own check, which may name the key
    itself."""
    key, colon, rest = message.partition(": ")
    for named in (key, f"{path}.{key}"):
        known = general(named)
        if colon and (known in catalogue.settings or known in catalogue.sections):
            return named, rest
    return path, message


def _wrong(path: str, value: Any, catalogue: Catalogue) -> str:
    """The message about a value of a wrong type or out of bounds: what to write instead."""
    known = general(path)
    if known in catalogue.sections:
        found = f"{kind(value)}{_broken_json(value)}"
        return f"is {found}; write a section of {', '.join(_names(known, catalogue))}"
    setting = catalogue.settings.get(known)
    if setting is None:
        of_list = catalogue.settings.get(known.removesuffix("[]"))
        wanted = f"{of_list.path} is {_wanted(of_list)}" if of_list else "write a setting's name"
        return f"is {shown(value)}; {wanted}"
    found = REDACTED if setting.secret else shown(value)
    if isinstance(value, int | float) and "text" in setting.type and not setting.structured:
        return f"is {found}; put it in quotes, to be {_wanted(setting)}"
    if isinstance(value, str) and setting.structured:
        entries = [masked(each.strip()) for each in value.split(",")]
        example = json.dumps(entries, ensure_ascii=False)
        as_list = f", as in {example}" if "[" not in value and "{" not in value else ", as JSON"
        return f"is {found}{_broken_json(value)}; write {_wanted(setting)}{as_list}"
    return f"is {found}; write {_wanted(setting)}"


def _broken_json(value: Any) -> str:
    """A remark about a text that was meant as JSON."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return ""
    try:
        json.loads(value)
    except ValueError as error:
        place = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        return f", which is not valid JSON{place}"
    return ""


def _wanted(setting: Setting) -> str:
    return ", ".join(filter(None, (setting.type, setting.bounds)))


def masked(text: str) -> str:
    """The text with users and passwords in URLs hidden."""
    return _USERINFO.sub(f"{REDACTED}@", text)


def shown(value: Any) -> str:
    """A plain value as JSON, cut short. For other values, their kind."""
    if isinstance(value, Mapping | list | tuple):
        return kind(value)
    text = masked(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"
