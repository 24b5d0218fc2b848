"""Label sets from YAML files, with the line of every problem."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from pipeline.adapters.plain_yaml import PlainLoader
from pipeline.errors import Halt
from pipeline.labels.document import KeyPath, quoted
from pipeline.labels.label_set import LabelSet
from pipeline.labels.parsing import InvalidLabelSet, parse_label_set
from pipeline.labels.prompts import PromptTokens
from pipeline.records import JsonValue

MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 10
"""Levels of nesting that are read; the format has four."""
_MAX_NUMBER_CHARACTERS = 30
"""No sound number is longer, and turning a huge one into an integer is costly."""
_SUFFIXES = (".yaml", ".yml")
_TAG_PREFIX = "tag:yaml.org,2002:"
_STRUCTURES = ("map", "seq")
_SCALARS = ("str", "int", "float", "bool", "null")


class _Problem(NamedTuple):
    """``line`` counts from 1; 0 is the file as a whole."""

    line: int
    message: str

    def at(self, path: Path) -> str:
        return f"{path}:{self.line}: {self.message}" if self.line else f"{path}: {self.message}"


class _Unreadable(Exception):
    """The file holds no YAML that can be looked at any further."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(line, message)
        self.problem = _Problem(line, message)


def load_label_sets(
    paths: Sequence[Path], tokens: PromptTokens | None = None
) -> tuple[LabelSet, ...]:
    """Read label sets, one a file; a folder stands for its ``.yaml`` and ``.yml`` files. With
    ``tokens`` they are such as the model can take.

    Raises:
        Halt: ``label_set.invalid``; its message has one line for every problem of every file, as
            ``file:line: key: what is wrong; what to write instead``.
    """
    problems: list[str] = []
    loaded: dict[str, LabelSet] = {}
    places: dict[str, str] = {}
    seen: set[str] = set()
    for path in _files(paths, problems):
        if (real := os.path.realpath(path)) in seen:
            problems.append(f"{path}: is given twice; name the file once, itself or by its folder")
            continue
        seen.add(real)
        label_set, found, name_line = _read_file(path, tokens)
        found.sort(key=lambda problem: problem.line)
        problems.extend(problem.at(path) for problem in found)
        if label_set is None:
            continue
        if label_set.name in loaded:
            problems.append(
                f"{path}:{name_line}: name: {label_set.name!r} is taken by "
                f"{places[label_set.name]}; write another name, or load one of the two"
            )
            continue
        loaded[label_set.name] = label_set
        places[label_set.name] = f"{path}:{name_line}"
    if not loaded and not problems:
        problems.append("label_sets.paths: no file; write the path of at least one label set")
    if problems:
        raise Halt("label_set.invalid", "\n".join(problems))
    return tuple(loaded.values())


def fingerprint(paths: Sequence[Path]) -> str:
    """Digest of everything that ``load_label_sets`` would read: it changes when they change."""
    problems: list[str] = []
    digest = hashlib.sha256()
    for path in _files(paths, problems):
        try:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            content = str(error.strerror)
        digest.update(f"{path}\0{content}\0".encode())
    digest.update("\0".join(problems).encode())
    return digest.hexdigest()


def _files(paths: Sequence[Path], problems: list[str]) -> Iterator[Path]:
    for path in paths:
        try:
            if not path.is_dir():
                yield path
                continue
            files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
        except OSError as error:
            problems.append(f"{path}: cannot be read ({error.strerror}); mend its permissions")
            continue
        if not files:
            problems.append(f"{path}: the folder has no {' or '.join(_SUFFIXES)} file; add one")
        yield from files


def _read_file(
    path: Path, tokens: PromptTokens | None
) -> tuple[LabelSet | None, list[_Problem], int]:
    """The file's label set, or None and what is wrong with it; and the line of its name."""
    nodes = _Nodes()
    try:
        data = nodes.plain(_compose(_text(path)), ())
    except _Unreadable as error:
        return None, [error.problem], 0
    label_set = None
    problems = nodes.problems
    try:
        label_set = parse_label_set(data, tokens)
    except InvalidLabelSet as error:
        problems += [_Problem(nodes.line(each.path), str(each)) for each in error.problems]
    return label_set if not problems else None, problems, nodes.line(("name",))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _Unreadable(0, f"cannot be read ({error.strerror}); check the path") from error
    if len(content) > MAX_FILE_BYTES:
        raise _Unreadable(0, f"larger than {MAX_FILE_BYTES} bytes; split the label set")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _Unreadable(line, f"not UTF-8 ({error.reason}); save it as UTF-8") from error


def _compose(text: str) -> yaml.Node:
    composer: _Composer | None = None
    try:
        composer = _Composer(text)
        node = composer.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise _Unreadable(mark.line + 1 if mark else 0, f"not read: {what}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _Unreadable(line, f"{error.reason}; remove the character") from error
    except (ValueError, OverflowError) as error:  # an escape beyond Unicode, in PyYAML's scanner
        line = composer.line + 1 if composer else 0
        raise _Unreadable(line, f"not read: {error}; check the escapes") from error
    if node is None:
        raise _Unreadable(1, "the file is empty; write a label set")
    return node


class _Composer(PlainLoader):
    """Composes nodes without aliases, which can make a small file huge, and without depth."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            problem = "aliases (*name) are not supported; write the value again"
            raise yaml.composer.ComposerError(problem=problem, problem_mark=mark)
        if self._depth == MAX_DEPTH:
            problem = f"nested deeper than {MAX_DEPTH} levels; a label set has four"
            raise yaml.composer.ComposerError(problem=problem, problem_mark=mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Nodes:
    """Turns YAML nodes into plain data; keeps the line of every key and entry."""

    def __init__(self) -> None:
        self.problems: list[_Problem] = []
        self._lines: dict[KeyPath, int] = {}
        self._scalars = yaml.constructor.SafeConstructor()

    def line(self, path: KeyPath) -> int:
        """Where a key stands, else where the nearest of those around it does."""
        while path not in self._lines:
            path = path[:-1]
        return self._lines[path]

    def plain(self, node: yaml.Node, path: KeyPath) -> JsonValue:
        line = node.start_mark.line + 1
        self._lines.setdefault(path, line)
        tag = node.tag.removeprefix(_TAG_PREFIX)
        if isinstance(node, yaml.MappingNode):
            self._check_tag(tag, _STRUCTURES, line)
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(tag, _STRUCTURES, line)
            return [self.plain(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, tag, line)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, JsonValue]:
        mapping: dict[str, JsonValue] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(_Problem(line, "a key is a list or mapping; write a name"))
                continue
            key = key_node.value
            if key in mapping:
                first = self._lines[(*path, key)]
                self.problems.append(
                    _Problem(line, f"{quoted(key)} stands on line {first} already; keep one")
                )
                continue
            self._lines[(*path, key)] = line
            mapping[key] = self.plain(value_node, (*path, key))
        return mapping

    def _scalar(self, node: yaml.Node, tag: str, line: int) -> JsonValue:
        self._check_tag(tag, _SCALARS, line)
        text: str = node.value
        if tag not in _SCALARS or tag == "str":
            return text
        if len(text) > _MAX_NUMBER_CHARACTERS:
            self.problems.append(_Problem(line, f"{quoted(text)} is too long for a {tag}"))
            return text
        try:
            value: JsonValue = self._scalars.construct_object(node)
        except (ValueError, LookupError, yaml.constructor.ConstructorError):
            self.problems.append(_Problem(line, f"{quoted(text)} is no {tag}; remove its tag"))
            return text
        return value

    def _check_tag(self, tag: str, supported: tuple[str, ...], line: int) -> None:
        if tag not in supported:
            self.problems.append(
                _Problem(line, f"a value of the YAML type {tag!r}; put a text in quotes")
            )
