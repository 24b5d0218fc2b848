"""YAML files that people write, as plain data with the line of every key and of every problem.

PyYAML reads YAML 1.1, in which ``yes``, ``no``, ``on`` and ``off`` are booleans. ``compile: on``
and a label named ``no`` would then not mean what their writers meant. As in YAML 1.2, only ``true``
and ``false`` are booleans here. A reader that wants a boolean may accept the words too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.complaints import KeyPath, Problem, quoted

_SUFFIXES = (".yaml", ".yml")
MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 10
"""Most levels of nesting that are read. The formats have four or five."""
_MAX_NUMBER_CHARACTERS = 30
"""No valid number is longer, and converting a huge one into an integer is costly."""
_TAG = "tag:yaml.org,2002:"
_PLAIN = {
    yaml.MappingNode: ("map",),
    yaml.SequenceNode: ("seq",),
    yaml.ScalarNode: ("str", "int", "float", "bool", "null"),
}


class Unreadable(Exception):
    """The file cannot be read any further. ``line`` counts from 1; 0 stands for the whole file."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(line, message)
        self.line = line
        self.message = message

    def at(self, path: Path) -> str:
        return f"{path}:{self.line}: {self.message}" if self.line else f"{path}: {self.message}"


class Lined:
    """The plain data of a file (None if it is empty), and all problems of its YAML, each with its
    line. Data with problems are incomplete."""

    def __init__(self) -> None:
        self.data: Any = None
        self.problems: list[tuple[int, Problem]] = []
        self.lines: dict[KeyPath, int] = {}

    def line(self, path: KeyPath) -> int:
        """The line of a key, else that of the nearest key around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def yaml_files(paths: Sequence[Path], problems: list[str]) -> Iterator[Path]:
    """These files; of a folder its ``.yaml`` and ``.yml`` files. Adds what cannot be listed to
    ``problems``."""
    for path in paths:
        try:
            if not path.is_dir():
                yield path
                continue
            files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
        except OSError as error:
            problems.append(f"{path}: cannot be read ({error.strerror}); fix its permissions")
            continue
        if not files:
            problems.append(f"{path}: the folder has no {' or '.join(_SUFFIXES)} file; add one")
        yield from files


def file_text(path: Path) -> str:
    """A file's text.

    Raises:
        Unreadable: the file cannot be read, is too large, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Unreadable(0, f"cannot be read ({error.strerror}); check the path") from error
    if len(content) > MAX_FILE_BYTES:
        raise Unreadable(0, f"larger than {MAX_FILE_BYTES} bytes; split it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable(line, f"not UTF-8 ({error.reason}); save it as UTF-8") from None


def read_yaml(text: str, *, relaxed: bool = False) -> Lined:
    """Read a text. No message shows a value, which may be a password.

    ``relaxed`` resolves aliases and merge keys (``<<``), and reads unquoted dates as texts, as YAML
    1.2 does. Without ``relaxed`` all of these are problems. Messages in relaxed mode name no tags
    either, because a password may begin with an exclamation mark.

    Raises:
        Unreadable: the text is not YAML, or has more than one document.
    """
    loader: _Loader | None = None
    try:
        loader = _Loader(text, relaxed=relaxed)
        node = loader.get_node() if loader.check_node() else None
        if loader.check_node():
            what = "a second document begins here (---); write a single document"
            raise Unreadable(loader.line_ahead(), what)
        if node is not None:
            loader.lined.data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        # These errors quote at most a character, except for the name of a tag.
        what = re.sub("(?<=tag handle) .*", "", what, flags=re.DOTALL)
        raise Unreadable(mark.line + 1 if mark else 0, f"not read: {what}; mend the YAML") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Unreadable(line, f"{error.reason}; remove the character") from None
    except (ValueError, OverflowError):  # an escape beyond Unicode, in PyYAML's scanner
        line = loader.line + 1 if loader else 0
        raise Unreadable(line, "not read: no such character; check the escapes") from None
    return loader.lined


class _Loader(yaml.SafeLoader):
    """Checks every node as it is composed: notes its line, and replaces a wrong node by a plain
    one."""

    def __init__(self, text: str, *, relaxed: bool) -> None:
        super().__init__(text)
        self.lined = Lined()
        self._relaxed = relaxed
        self._path: KeyPath = ()
        """Path of the node that is being composed."""
        self._open: list[str | None] = []
        """Anchors of the enclosing nodes, or None."""
        self._keys: list[dict[str, int]] = []
        """Keys of the enclosing mappings so far, with their lines."""
        self._repeated: set[yaml.Node] = set()
        """Keys that stand above already. They and their values are left out."""

    def line_ahead(self) -> int:
        return int(self.peek_event().start_mark.line) + 1  # type: ignore[no-untyped-call]

    def compose_node(self, parent: yaml.Node | None, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line, around = self.line_ahead(), self._path
        is_key = isinstance(parent, yaml.MappingNode) and index is None
        is_repeated = False
        if (what := self._refused(event, is_key=is_key)) is not None:
            raise Unreadable(line, what)
        if is_key:
            self._path = (*around, event.value)
            is_repeated = event.value in self._keys[-1]
            if is_repeated:
                first = self._keys[-1][event.value]
                what = f"{quoted(event.value)} stands on line {first} already; keep one"
                self._complain(line, what)
            self._keys[-1].setdefault(event.value, line)
            self.lined.lines.setdefault(self._path, line)
        elif parent is not None:
            self._path = (*around, index if isinstance(index, int) else index.value)
            self.lined.lines.setdefault(self._path, line)
        self._open.append(event.anchor)
        node: Any = super().compose_node(parent, index)
        self._open.pop()
        if is_repeated:
            self._repeated.add(node)
        if is_key and not (self._relaxed and node.tag == f"{_TAG}merge"):
            node.tag = f"{_TAG}str"  # whatever a key looks like
        elif not is_key and not isinstance(event, yaml.AliasEvent):
            self._value(node, line)
        self._path = around
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        self._keys.append({})
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        self._keys.pop()
        node.value = [each for each in node.value if each[0] not in self._repeated]
        return node

    def _refused(self, event: Any, *, is_key: bool) -> str | None:
        """Why nothing from this event on can be read."""
        if isinstance(event, yaml.AliasEvent):
            if not self._relaxed:
                return "aliases (*name) are not supported; write the value again"
            if event.anchor not in self.anchors or event.anchor in self._open:
                return "an alias of nothing before it; put a text that begins with * in quotes"
        elif event.anchor in self.anchors:
            return "an anchor that stands above; put a text that begins with & in quotes"
        if is_key and not isinstance(event, yaml.ScalarEvent):
            return "a key is a list or mapping; write a name"
        if len(self._open) == MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH} levels; write fewer"
        return None

    def _value(self, node: Any, line: int) -> None:
        """Complain of a value that is not plain, and make a text of it."""
        tag, plain = node.tag.removeprefix(_TAG), _PLAIN[type(node)]
        what = None
        if tag not in plain and not (self._relaxed and tag == "timestamp"):
            of = "of its own" if self._relaxed else repr(tag)
            what = f"is a value of the YAML type {of}; put a text in quotes"
        elif tag in plain[1:] and len(node.value) > _MAX_NUMBER_CHARACTERS:
            what = f"is too long for {'an' if tag == 'int' else 'a'} {tag}; put a text in quotes"
        elif tag in plain[1:]:
            try:
                yaml.constructor.SafeConstructor().construct_object(node)
            except (ValueError, LookupError, yaml.constructor.ConstructorError):
                what = f"is no {tag}; remove its tag"
        if what is not None:
            self._complain(line, what)
        if what is not None or tag == "timestamp":
            node.tag = _TAG + plain[0]

    def _complain(self, line: int, what: str) -> None:
        self.lined.problems.append((line, Problem(self._path, what)))


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    f"{_TAG}bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")
)
