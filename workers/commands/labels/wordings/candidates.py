"""Reads from a file with which other prompts labels could be described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.adapters.yaml_lines import Unreadable, file_text, read_yaml
from pipeline.complaints import Problem, alike, described, instead, quoted
from pipeline.errors import Halt
from pipeline.evaluation.templates import TEMPLATES
from pipeline.labels.label_set import LabelSet
from pipeline.labels.parsing import InvalidLabelSet, parse_label_set

KEYS = ("prompts", "phrases", "templates")


@dataclass(frozen=True, slots=True)
class Wording:
    """One way to describe a label: its ``prompts`` in full, and the keys ``written`` that say them
    in the file of a label set."""

    prompts: tuple[str, ...]
    written: Mapping[str, Sequence[str]]

    def __str__(self) -> str:
        first, *others = self.prompts
        return f"{first} (+{len(others)})" if others else first


def read_wordings(file: Path, label_set: Any) -> Mapping[str, Sequence[Wording]]:
    """The wordings of a file by label. ``label_set`` is the plain data of the valid label set whose
    labels they are for.

    Raises:
        Halt: ``tune.candidates``, with a line for each problem; or the label set has a head.
    """
    if "head" in label_set:
        raise Halt(
            "tune.candidates",
            f"{file}: label set {label_set['name']!r} scores with a head, which reads no prompts; "
            "leave out --prompts, or name a label set with prompts",
        )
    try:
        found = read_yaml(file_text(file))
    except Unreadable as error:
        raise Halt("tune.candidates", error.at(file)) from error
    problems = list(found.problems)
    wordings: dict[str, list[Wording]] = {}

    def complain(*all_of: Problem) -> None:
        problems.extend((found.line(each.path), each) for each in all_of)

    if not isinstance(found.data, dict) or not found.data:
        what = "a mapping with the name of a label and a list of its wordings"
        complain(Problem((), f"is {described(found.data)}; write {what}"))
        found.data = {}
    places = {" ".join(label["name"].split()): at for at, label in enumerate(label_set["labels"])}
    for name, entries in found.data.items():
        if name not in places:
            known = instead(alike(name, places), places)
            complain(Problem((name,), f"no label has this name; {known}"))
        elif not isinstance(entries, list) or not entries:
            complain(Problem((name,), f"is {described(entries)}; write a list of wordings"))
        else:
            wordings[name] = []
            for index, entry in enumerate(entries):
                try:
                    wordings[name].append(_wording(entry, label_set, places[name]))
                except InvalidLabelSet as error:
                    complain(*(Problem((name, index, *p.path), p.message) for p in error.problems))
    if problems:
        problems.sort(key=lambda problem: problem[0])
        told = (f"{file}:{line}: {problem}" for line, problem in problems)
        raise Halt("tune.candidates", "\n".join(told))
    return wordings


def reworded(label_set: LabelSet, wordings: Mapping[str, Wording]) -> LabelSet:
    """The label set with other prompts of some labels."""
    labels = (
        replace(label, prompts=wordings[label.name].prompts) if label.name in wordings else label
        for label in label_set.labels
    )
    return replace(label_set, labels=tuple(labels))


def _wording(entry: Any, label_set: Any, place: int) -> Wording:
    """
    Raises:
        InvalidLabelSet: paths begin at the entry.
    """
    own = label_set["labels"][place]
    written = _written(entry, own)
    label = {key: value for key, value in own.items() if key not in KEYS} | written
    labels = [*label_set["labels"]]
    labels[place] = label
    try:
        parsed = parse_label_set({**label_set, "labels": labels})
    except InvalidLabelSet as error:
        at = ("labels", place)
        problems = (
            replace(each, path=each.path[2:] if each.path[:2] == at else ())
            for each in error.problems
        )
        raise InvalidLabelSet(tuple(problems)) from error
    return Wording(parsed.labels[place].prompts, written)


def _written(entry: Any, own: Any) -> dict[str, Any]:
    """The keys of a label that say the same: templates of an entry are filled."""
    if not isinstance(entry, dict) or not entry:
        what = f"is {described(entry)}; write a mapping of {', '.join(KEYS)}"
        raise InvalidLabelSet((Problem((), what),))
    for key in entry:
        if key not in KEYS:
            what = f"unknown key; {instead(alike(key, KEYS), KEYS)}"
            raise InvalidLabelSet((Problem((key,), what),))
    if "templates" not in entry:
        return dict(entry)
    templates = _templates(entry["templates"])
    phrases = entry.get("phrases", own.get("phrases", [own["name"]]))
    for key, texts in (("phrases", phrases), ("prompts", entry.get("prompts", []))):
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            what = f"is {described(texts)}; write a list of texts"
            raise InvalidLabelSet((Problem((key,), what),))
    filled = [template.replace("{}", phrase) for phrase in phrases for template in templates]
    return {"prompts": [*entry.get("prompts", []), *filled]}


def _templates(given: Any) -> Sequence[str]:
    """The templates of a list, or of a named set."""
    if isinstance(given, str) and given in TEMPLATES:
        return TEMPLATES[given].texts
    if isinstance(given, list) and given and all(isinstance(text, str) for text in given):
        for text in given:
            if text.count("{}") != 1:
                what = f"{quoted(text)} is no template; write {{}} once, where the phrase goes"
                raise InvalidLabelSet((Problem(("templates",), what),))
        return given
    what = f"is {described(given)}; write a list of templates, or one of {', '.join(TEMPLATES)}"
    raise InvalidLabelSet((Problem(("templates",), what),))
