"""Reads label sets from YAML files, and reports the line of every problem."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.adapters.yaml_lines import Unreadable, file_text, read_yaml
from pipeline.errors import Halt
from pipeline.labels.label_set import LabelSet
from pipeline.labels.parsing import InvalidLabelSet, parse_label_set
from pipeline.labels.recorded import SourcedLabelSet
from pipeline.ports import PromptTokens

_SUFFIXES = (".yaml", ".yml")


def load_label_sets(
    paths: Sequence[Path], tokens: PromptTokens | None = None
) -> tuple[LabelSet, ...]:
    """The label sets of ``load_sourced``, without their files' texts.

    Raises:
        Halt: as ``load_sourced``.
    """
    return tuple(each.label_set for each in load_sourced(paths, tokens))


def load_sourced(
    paths: Sequence[Path], tokens: PromptTokens | None = None
) -> tuple[SourcedLabelSet, ...]:
    """Read label sets, one from each file. A folder stands for its ``.yaml`` and ``.yml`` files.
    With ``tokens``, prompts are checked with the model's tokenizer.

    Raises:
        Halt: ``label_set.invalid``. The message has one line for every problem of every file, as
            ``file:line: key: what is wrong; what to write instead``.
    """
    problems: list[str] = []
    loaded: dict[str, SourcedLabelSet] = {}
    places: dict[str, str] = {}
    seen: set[str] = set()
    for path in _files(paths, problems):
        if (real := os.path.realpath(path)) in seen:
            problems.append(f"{path}: is given twice; name the file once, itself or by its folder")
            continue
        seen.add(real)
        sourced, found, name_line = _read_file(path, tokens)
        problems.extend(found)
        if sourced is None:
            continue
        name = sourced.label_set.name
        if name in loaded:
            problems.append(
                f"{path}:{name_line}: name: {name!r} is taken by {places[name]}; write another "
                "name, or load one of the two"
            )
            continue
        loaded[name] = sourced
        places[name] = f"{path}:{name_line}"
    if not loaded and not problems:
        problems.append("label_sets.paths: no file; write the path of at least one label set")
    if problems:
        raise Halt("label_set.invalid", "\n".join(problems))
    return tuple(loaded.values())


def fingerprint(paths: Sequence[Path]) -> str:
    """Digest of everything that ``load_label_sets`` would read. It changes when these files
    change."""
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
            problems.append(f"{path}: cannot be read ({error.strerror}); fix its permissions")
            continue
        if not files:
            problems.append(f"{path}: the folder has no {' or '.join(_SUFFIXES)} file; add one")
        yield from files


def _read_file(
    path: Path, tokens: PromptTokens | None
) -> tuple[SourcedLabelSet | None, list[str], int]:
    """The file's label set, or None; what is wrong with the file; and the line of its name."""
    try:
        file = read_yaml(text := file_text(path))
    except Unreadable as error:
        return None, [error.at(path)], 0
    if file.data is None:
        return None, [f"{path}:1: the file is empty; write a label set"], 0
    label_set = None
    try:
        label_set = parse_label_set(file.data, tokens)
    except InvalidLabelSet as error:
        file.problems += [(file.line(each.path), each) for each in error.problems]
    file.problems.sort(key=lambda problem: problem[0])
    found = [f"{path}:{line}: {problem}" for line, problem in file.problems]
    if label_set is None or found:
        return None, found, file.line(("name",))
    return SourcedLabelSet(label_set, text), found, file.line(("name",))
