"""Where settings come from: one YAML file, the environment, the flags, each over the one before."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from pipeline.adapters.plain_yaml import PlainLoader
from pipeline.errors import Halt
from workers.settings.catalogue import ENVIRONMENT_PREFIX, Catalogue

CONFIG_VARIABLE = "CLIPSTREAM_CONFIG"

NOT_SETTINGS = frozenset({CONFIG_VARIABLE, "CLIPSTREAM_TEST_DATA"})
"""Variables with the prefix that are not settings."""

SERVICE_VARIABLE = re.compile(
    r".*_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_[A-Z]+(_[A-Z]+)?)"
)
SERVICE_URL = re.compile(r"(tcp|udp|sctp)://.*")
"""Names and values of what Kubernetes sets in every pod beside a Service called clipstream, or
clipstream-anything."""

DEEPEST_LINE = 5
"""Levels of a settings file whose lines are kept: a header of a route is on the fourth."""

Origin = Literal["default", "file", "environment", "flag"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value was set: ``where`` is a file with its line, a variable, or a flag."""

    origin: Origin
    where: str


@dataclass(frozen=True, slots=True)
class Given:
    """What was set, merged and not yet validated; ``sources`` by dotted path."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)

    def source(self, path: str) -> Source | None:
        """Where this path was set, or else the first part of it, or else what it is a part of."""
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
        """Set a value over what is there; a mapping is set key by key.

        What stands where a section should is kept, for the validation to complain of.
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
        dotted = ".".join(path)
        for within in [
            each for each in self.sources if each.startswith((f"{dotted}.", f"{dotted}["))
        ]:
            del self.sources[within]
        self.sources[dotted] = source


def gather(
    catalogue: Catalogue,
    file: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, Any],
) -> Given:
    """Read and merge everything that was set.

    Raises:
        Halt: ``settings.unreadable`` or ``settings.invalid``, where the file cannot be read at all.
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
    """A value as a variable or a flag gives it: lists, mappings and sections are JSON, ``null`` is
    null where that is allowed, and all else is text, which the validation converts."""
    setting = catalogue.settings.get(path)
    if setting is not None and setting.nullable and text == "null":
        return None
    if path in catalogue.sections or (setting is not None and setting.structured):
        try:
            return json.loads(text)
        except ValueError:
            return text  # the validation says what to write, beside all other problems
    return text


def _variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variables that set something. An empty one sets nothing: templates leave such behind."""
    for name, text in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in NOT_SETTINGS or not text:
            continue
        of_service = SERVICE_VARIABLE.fullmatch(name) or SERVICE_URL.fullmatch(text)
        if "__" in name or not of_service:
            yield name, text


def _put_file(given: Given, catalogue: Catalogue, file: Path) -> None:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Halt(
            "settings.unreadable", f"settings: {file} cannot be read ({error.strerror})"
        ) from error
    except UnicodeDecodeError as error:
        raise Halt(
            "settings.unreadable", f"settings: {file} is not UTF-8; save it as UTF-8"
        ) from error
    values, lines = _parsed(file, text)

    def put(path: tuple[str, ...], value: Any) -> None:
        dotted = ".".join(path)
        if dotted in catalogue.sections and value in (None, {}):
            return  # everything in it is commented out
        if isinstance(value, Mapping) and value:
            for key, part in value.items():
                put((*path, str(key)), part)
            return
        given.put(path, value, source(dotted))

    def source(dotted: str) -> Source:
        return Source("file", f"{file}:{lines[dotted]}" if dotted in lines else str(file))

    for key, value in values.items():
        put((str(key),), value)
    given.sources.update({dotted: source(dotted) for dotted in lines if "[" in dotted})


def _parsed(file: Path, text: str) -> tuple[dict[Any, Any], dict[str, int]]:
    """A file's values, and the line of every key and entry by its path. Errors quote nothing of
    the file: it may hold passwords."""
    lines: dict[str, int] = {}
    try:
        loader = PlainLoader(text)
        node = loader.get_single_node()
        if node is None:
            return {}, {}
        # Before values are made of the nodes, which resolves merge keys in place.
        for path, mark in _marks(node, "", DEEPEST_LINE):
            if path in lines:
                what = f"{path} stands here again, after line {lines[path]}; remove one"
                raise _invalid(file, mark, what)
            lines[path] = mark.line + 1
        values = loader.construct_document(node)
    except (yaml.scanner.ScannerError, yaml.parser.ParserError) as error:
        raise _invalid(file, error.problem_mark, f"{error.problem}; mend the YAML") from None
    except yaml.MarkedYAMLError as error:
        if error.context == "expected a single document in the stream":
            what = "a second document begins here (---); put all sections into one"
            raise _invalid(file, error.problem_mark, what) from None
        raise _invalid(
            file,
            error.problem_mark,
            "an alias, tag or key that settings do not have; put a text that begins with *, & or ! "
            "in quotes",
        ) from None
    except (yaml.YAMLError, ValueError):
        what = "not YAML; put texts that look like dates in quotes, remove control characters"
        raise _invalid(file, None, what) from None
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise _invalid(file, None, "not a mapping; write sections, as in kafka: {group: live}")
    return values, lines


def _marks(node: yaml.Node, path: str, levels: int) -> Iterator[tuple[str, yaml.Mark]]:
    """The path and the place of every key and entry."""
    if levels == 0:
        return
    parts: list[tuple[str, yaml.Mark, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        parts = [
            (f"{path}.{key.value}".removeprefix("."), key.start_mark, value)
            for key, value in node.value
            if isinstance(key, yaml.ScalarNode)
        ]
    elif isinstance(node, yaml.SequenceNode):
        parts = [
            (f"{path}[{index}]", value.start_mark, value) for index, value in enumerate(node.value)
        ]
    for name, mark, value in parts:
        yield name, mark
        yield from _marks(value, name, levels - 1)


def _invalid(file: Path, mark: yaml.Mark | None, what: str) -> Halt:
    place = f"{file}:{mark.line + 1}" if mark else str(file)
    return Halt("settings.invalid", f"settings: {place}: {what}")
