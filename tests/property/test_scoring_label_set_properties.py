"""Any way to write a label set has its version; any text is a label set or a list of problems."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pipeline.adapters.label_files import load_label_sets
from pipeline.complaints import KeyPath
from pipeline.errors import Halt
from pipeline.labels.parsing import InvalidLabelSet, parse_label_set
from pipeline.labels.written import LABEL_KEYS, SET_KEYS

Document = dict[str, Any]

words = st.text("abcdefgh ", min_size=1, max_size=8).filter(lambda text: text.split() != [])
ACTIONS = ["block", "review", "allow"]

# One file of each test, written again for every example.
one_file = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def unique(texts: list[str]) -> list[str]:
    return list({" ".join(text.split()): text for text in texts}.values())


@st.composite
def documents(draw: st.DrawFn) -> Document:
    labels: list[Document] = []
    of_others: set[frozenset[str]] = set()
    for number in range(draw(st.integers(2, 3))):
        label: Document = {"name": f"label {number}"}
        if draw(st.booleans()):
            prompts = unique(draw(st.lists(words, min_size=1, max_size=3)))
            assume(frozenset(prompts) not in of_others)
            of_others.add(frozenset(prompts))
            label["prompts"] = prompts
        if draw(st.booleans()):
            act = draw(st.floats(0, 1))
            label["act_threshold"] = act
            label["review_threshold"] = draw(st.floats(0, act))
        labels.append(label)
    return {
        "name": "set",
        "decision": "independent",
        "actions": ACTIONS,
        "default_action": draw(st.sampled_from(ACTIONS)),
        "act_action": "block",
        "review_action": draw(st.sampled_from(["block", "review"])),
        "templates": ["a photo of {}", "{} here"],
        # Upper case: never one of the prompts that the label draws.
        "contrast": [text.upper() for text in unique(draw(st.lists(words, min_size=1)))],
        "labels": labels,
    }


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same with the keys of every mapping in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(item, rng)) for key, item in value.items()]
        rng.shuffle(items)
        return dict(items)
    return [shuffled(item, rng) for item in value] if isinstance(value, list) else value


def leaves(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for at, item in enumerate(value) for leaf in leaves(item, (*path, at))]
    return [path]


@one_file
@given(
    document=documents(),
    rng=st.randoms(use_true_random=False),
    quotes=st.sampled_from([None, "'", '"']),
    flow=st.booleans(),
    width=st.integers(20, 200),
)
def test_the_version_depends_on_nothing_but_the_meaning(
    tmp_path: Path,
    document: Document,
    rng: random.Random,
    quotes: str | None,
    flow: bool,
    width: int,
) -> None:
    file = tmp_path / "set.yaml"
    text = yaml.safe_dump(
        shuffled(document, rng), default_flow_style=flow, sort_keys=False, width=width
    )
    if quotes:
        text = re.sub(r"(?<=name: )label \d", lambda name: f"{quotes}{name[0]}{quotes}", text)
    file.write_text("# a comment\n" + text + "# another\n")

    (label_set,) = load_label_sets([file])

    assert label_set == parse_label_set(document)
    assert label_set.version == parse_label_set(json.loads(json.dumps(document))).version


@given(documents(), st.data())
def test_any_other_value_is_another_version_or_a_problem(
    document: Document, data: st.DataObject
) -> None:
    before = parse_label_set(document).version
    path = data.draw(st.sampled_from(leaves(document)))
    changed = json.loads(json.dumps(document))
    target = changed
    for key in path[:-1]:
        target = target[key]
    value = target[path[-1]]
    target[path[-1]] = value / 2 + 0.4 if isinstance(value, float) else f"x{value}"
    # A value that nothing uses means nothing: templates of labels that all have prompts, say.
    used = not (
        (path[0] == "templates" and all("prompts" in label for label in document["labels"]))
        or (
            path[0] in {"act_action", "review_action"}
            and not any("act_threshold" in label for label in document["labels"])
        )
    )

    try:
        after = parse_label_set(changed).version
    except InvalidLabelSet:
        return
    assert (after == before) == (target[path[-1]] == value or not used)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*SET_KEYS, *LABEL_KEYS]) | st.text(max_size=5), inner, max_size=6
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_no_data_does_anything_but_parse_or_report_problems(document: Any) -> None:
    with pytest.raises(InvalidLabelSet) as caught:
        parse_label_set(document)

    assert caught.value.problems
    assert all("\n" not in str(problem) for problem in caught.value.problems)


@one_file
@given(content=st.binary(max_size=200) | st.text("{}[]:-,#&*!|>'\"%@\\ \n\tname01", max_size=200))
def test_no_file_does_anything_but_load_or_report_its_lines(
    tmp_path: Path, content: bytes | str
) -> None:
    file = tmp_path / "set.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)

    with pytest.raises(Halt) as caught:
        load_label_sets([file])

    lines = caught.value.message.split("\n")
    assert all(line.startswith(f"{file}:") for line in lines), lines
