"""Reads label sets from YAML files, and reports the line of every problem. Changes thresholds and
wordings and calibrations in their texts, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml

from pipeline.adapters.head_files import Unusable, read_weights, with_weights
from pipeline.adapters.yaml_lines import Unreadable, file_text, read_yaml, yaml_files
from pipeline.errors import Halt
from pipeline.labels.label_set import LabelSet, ModelPin
from pipeline.labels.learnt.calibration import Calibration, Platt
from pipeline.labels.parsing import InvalidLabelSet, parse_label_set
from pipeline.labels.recorded import SourcedLabelSet
from pipeline.ports import PromptTokens

_LINE = 100
"""Characters of a line above which a list has a line for each entry."""

Edit = tuple[int, int, str]
"""Characters from the first place up to the second give way to a text."""


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
    for path in yaml_files(paths, problems):
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
    change. Of weights, their label set names the content, so size and time are enough here."""
    problems: list[str] = []
    digest = hashlib.sha256()
    for path in yaml_files(paths, problems):
        try:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            content = str(error.strerror)
        digest.update(f"{path}\0{content}\0{_weights_state(path)}\0".encode())
    digest.update("\0".join(problems).encode())
    return digest.hexdigest()


def with_thresholds(
    text: str,
    scores: Mapping[str, Mapping[str, float]],
    model: ModelPin,
    note: str,
    calibrations: Mapping[str, Calibration] = MappingProxyType({}),
) -> str:
    """The text of a valid label set with other thresholds and calibrations.

    ``scores`` has the thresholds of labels by name and key, ``act_threshold`` or
    ``review_threshold``, and ``calibrations`` those of labels by name. A key that is not written is
    added below the label's name. ``model`` becomes the set's pin. ``note`` becomes a comment at the
    top.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    edits: list[Edit] = [(0, 0, "".join(f"# {line}\n" for line in note.splitlines()) + "\n")]
    edits += _pin(text, root, model)
    for label in _value(root, "labels").value:
        name = " ".join(_value(label, "name").value.split())
        values = {key: _number(score) for key, score in scores.get(name, {}).items()}
        if name in calibrations:
            values["calibration"] = _calibration(calibrations[name])
        for key, value in values.items():
            if (written := _value(label, key)) is not None:
                edits.append((*_span(written), value))
            else:
                edits.append(_added(text, label, "name", f"{key}: {value}"))
    return _edited(text, edits)


def with_wordings(text: str, wordings: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    """The text of a valid label set with other prompts.

    ``wordings`` has ``prompts`` and ``phrases`` of labels by name. They stand where a label's old
    ones stood, or below the label's name.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    edits: list[Edit] = []
    for label in _value(root, "labels").value:
        name = " ".join(_value(label, "name").value.split())
        if name not in wordings:
            continue
        old = [pair for pair in label.value if pair[0].value in ("prompts", "phrases")]
        entries = _entries(label, wordings[name])
        if not old:
            edits.append(_added(text, label, "name", entries))
            continue
        key, value = old[0]
        edits.append((key.start_mark.index, _end(value), entries))
        for before, pair in pairwise(label.value):
            if pair in old[1:]:  # never the first key of its label
                edits.append((_end(before[1]), _end(pair[1]), ""))
    return _edited(text, edits)


def _edited(text: str, edits: Sequence[Edit]) -> str:
    # The last one first, so that places before it stay right.
    for start, end, replacement in sorted(edits, key=lambda edit: -edit[0]):
        text = text[:start] + replacement + text[end:]
    return text


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
    weights = None
    if label_set.head is not None:
        try:
            weights = read_weights(path.with_name(file.data["head"]["weights"]))
            label_set = with_weights(label_set, weights)
        except Unusable as error:
            line = file.line(("head", "weights"))
            return None, [f"{path}:{line}: head.weights: {error}"], file.line(("name",))
    return SourcedLabelSet(label_set, text, weights), found, file.line(("name",))


def _weights_state(path: Path) -> str:
    """Size and time of the weights that a label set names, or why there are none."""
    try:
        text = file_text(path)
        if ".safetensors" not in text:
            return ""
        data = read_yaml(text).data
        head = data.get("head") if isinstance(data, dict) else None
        name = head.get("weights") if isinstance(head, dict) else None
        state = path.with_name(str(name)).stat()
    except (Unreadable, OSError, ValueError) as error:
        return type(error).__name__
    return f"{state.st_size} {state.st_mtime_ns}"


def _number(value: float) -> str:
    """Positional: YAML 1.1 reads 1e-05 as a text."""
    return np.format_float_positional(value, trim="0")


def _calibration(calibration: Calibration) -> str:
    """On one line."""
    if isinstance(calibration, Platt):
        slope, intercept = map(_number, (calibration.slope, calibration.intercept))
        learnt = f"platt: {{slope: {slope}, intercept: {intercept}}}"
    else:
        knots = (f"[{_number(score)}, {_number(value)}]" for score, value in calibration.knots)
        learnt = f"isotonic: [{', '.join(knots)}]"
    return f'{{{learnt}, sample: "{calibration.sample}"}}'


def _pin(text: str, root: Any, model: ModelPin) -> list[Edit]:
    pin = _value(root, "model")
    values = {"name": json.dumps(model.name), "revision": json.dumps(model.revision)}
    if pin is not None:
        return [(*_span(_value(pin, key)), value) for key, value in values.items()]
    written = ", ".join(f"{key}: {value}" for key, value in values.items())
    return [_added(text, root, "name", f"model: {{{written}}}")]


def _added(text: str, mapping: Any, after: str, entry: str) -> Edit:
    """An entry behind that of the key ``after``: on a line of its own, unless the mapping is
    written in braces."""
    key, value = next(pair for pair in mapping.value if pair[0].value == after)
    end = value.end_mark.index
    if mapping.flow_style:
        return end, end, f", {entry}"
    line_end = text.find("\n", end)
    place = len(text) if line_end < 0 else line_end
    return place, place, f"\n{' ' * key.start_mark.column}{entry}"


def _entries(mapping: Any, lists: Mapping[str, Sequence[str]]) -> str:
    """Lists of texts as keys of a mapping, from the column of its keys on."""
    margin = " " * mapping.value[0][0].start_mark.column
    entries = []
    for key, texts in lists.items():
        quoted = [json.dumps(text, ensure_ascii=False) for text in texts]
        entry = f"{key}: [{', '.join(quoted)}]"
        if not mapping.flow_style and len(margin) + len(entry) > _LINE:
            entry = "\n".join((f"{key}:", *(f"{margin}  - {each}" for each in quoted)))
        entries.append(entry)
    return (", " if mapping.flow_style else f"\n{margin}").join(entries)


def _end(node: Any) -> int:
    """Where a value ends, without the lines behind it."""
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _end(node.value[-1])
    return int(node.end_mark.index)


def _value(mapping: Any, key: str) -> Any:
    """The node of a key's value, or None."""
    return next((value for name, value in mapping.value if name.value == key), None)


def _span(node: Any) -> tuple[int, int]:
    last = node
    # A mapping without braces ends where the next key begins, behind what stands between.
    while not isinstance(last, yaml.ScalarNode) and not last.flow_style:
        last = last.value[-1][1] if isinstance(last, yaml.MappingNode) else last.value[-1]
    return node.start_mark.index, last.end_mark.index
