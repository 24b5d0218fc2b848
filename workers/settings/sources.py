"""Where settings come from: one YAML file, the environment, the flags. A later source overrides an
earlier one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.adapters.yaml_lines import Unreadable, file_text, read_yaml
from pipeline.complaints import dotted
from pipeline.errors import Halt
from workers.settings.catalogue import ENVIRONMENT_PREFIX, Catalogue

CONFIG_VARIABLE = "CLIPSTREAM_CONFIG"

NOT_SETTINGS = frozenset({CONFIG_VARIABLE, "CLIPSTREAM_TEST_DATA"})
"""Variables with the prefix that are not settings."""

SERVICE_VARIABLE = re.compile(
    r".*_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_[A-Z]+(_[A-Z]+)?)"
)
SERVICE_URL = re.compile(r"(tcp|udp|sctp)://.*")
"""Names and values of the variables that Kubernetes sets in every pod if there is a Service called
clipstream or clipstream-anything."""

Origin = Literal["default", "file", "environment", "flag"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value was set. ``where`` is a file with its line, a variable, or a flag."""

    origin: Origin
    where: str


@dataclass(frozen=True, slots=True)
class Unread:
    """A problem of the file's YAML: a value that could not be read as it was meant, or a repeated
    key."""

    path: str
    message: str
    source: Source


@dataclass(frozen=True, slots=True)
class Given:
    """The given values, merged and not yet validated. ``sources`` is by dotted path. With
    ``unread``, the values are incomplete, and the validation refuses them."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    unread: list[Unread] = field(default_factory=list)

    def source(self, path: str) -> Source | None:
        """Where this path was set; else the first part of it that was set; else the part that
        contains it."""
        if path in self.sources:
            return self.sources[path]
        for each, source in self.sources.items():
            if each.startswith((f"{path}.", f"{path}[")):
                return source
        while path:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
            if path in self.sources:
                return self.sources[path]
        return None

    def value(self, path: str, default: Any) -> Any:
        """The value set at a dotted path."""
        tree: Any = self.values
        for part in path.split("."):
            if not isinstance(tree, Mapping) or part not in tree:
                return default
            tree = tree[part]
        return tree

    def put(self, path: tuple[str, ...], value: Any, source: Source) -> None:
        """Set a value over an earlier one. A mapping is set key by key.

        A value that stands where a section should is kept, so that the validation reports it.
        """
        if isinstance(value, Mapping) and value:
            for key, part in value.items():
                self.put((*path, str(key)), part, source)
            return
        tree = self.values
        for parent in path[:-1]:
            tree = tree.setdefault(parent, {})
            if not isinstance(tree, dict):
                return
        tree[path[-1]] = value
        place = dotted(path)
        for within in [
            each for each in self.sources if each.startswith((f"{place}.", f"{place}["))
        ]:
            del self.sources[within]
        self.sources[place] = source


def gather(
    catalogue: Catalogue,
    file: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, Any],
) -> Given:
    """Read and merge all given values.

    Raises:
        Halt: ``settings.unreadable`` or ``settings.invalid``: the file cannot be read at all.
    """
    given = Given()
    if file is not None:
        _put_file(given, catalogue, file)
    for name, text in _variables(environment):
        path = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
        source = Source("environment", name)
        given.put(tuple(path.split(".")), from_text(catalogue, path, text), source)
    for path, value in flags.items():
        given.put(tuple(path.split(".")), value, Source("flag", f"flag {path}"))
    return given


def from_text(catalogue: Catalogue, path: str, text: str) -> Any:
    """The value of a variable's or a flag's text. Lists, mappings and sections are JSON. ``null``
    is null if the setting allows it. Anything else is text, which the validation converts."""
    setting = catalogue.settings.get(path)
    if setting is not None and setting.nullable and text == "null":
        return None
    if path in catalogue.sections or (setting is not None and setting.structured):
        try:
            return json.loads(text)
        except ValueError:
            return text  # the validation reports it, along with all other problems
    return text


def _variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variables that set something. An empty variable sets nothing, because templates leave
    such variables behind."""
    for name, text in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in NOT_SETTINGS or not text:
            continue
        of_service = SERVICE_VARIABLE.fullmatch(name) or SERVICE_URL.fullmatch(text)
        if "__" in name or not of_service:
            yield name, text


def _put_file(given: Given, catalogue: Catalogue, file: Path) -> None:
    try:
        text = file_text(file)
    except Unreadable as error:
        raise Halt("settings.unreadable", f"settings: {error.at(file)}") from None
    try:
        lined = read_yaml(text, relaxed=True)
    except Unreadable as error:
        raise Halt("settings.invalid", f"settings: {error.at(file)}") from None
    values = {} if lined.data is None else lined.data
    if not isinstance(values, dict):
        raise Halt(
            "settings.invalid",
            f"settings: {file}: not a mapping; write sections, as in kafka: {{group: live}}",
        )
    for line, problem in lined.problems:
        source = Source("file", f"{file}:{line}")
        given.unread.append(Unread(dotted(problem.path), problem.message, source))

    def put(path: tuple[str, ...], value: Any) -> None:
        if dotted(path) in catalogue.sections and value in (None, {}):
            return  # everything in the section is commented out
        if isinstance(value, Mapping) and value:
            for key, part in value.items():
                put((*path, key), part)
            return
        given.put(path, value, Source("file", f"{file}:{lined.line(path)}"))

    for key, value in values.items():
        put((key,), value)
    for path, line in lined.lines.items():
        if any(isinstance(part, int) for part in path):
            given.sources[dotted(path)] = Source("file", f"{file}:{line}")
