"""Settings files that cannot be looked at: every problem of their YAML, with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.errors import Halt
from tests.rigs.refused_settings import BUCKETS, problems
from workers.settings.loading import load_settings


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- a", "settings.yaml: not a mapping; write sections, as in kafka: {group: live}"),
        (
            "log: {level: info}\nlog: {level: error}",
            "settings.yaml:2: log: 'log' stands on line 1 already; keep one",
        ),
        (
            "log:\n  level: info\n  level: error",
            "settings.yaml:3: log.level: 'level' stands on line 2 already; keep one",
        ),
        (
            "log: {level: info, level: error}",
            "settings.yaml:1: log.level: 'level' stands on line 1 already; keep one",
        ),
        (
            "kafka: {group: a",
            (
                "settings.yaml:1: not read: while parsing a flow mapping, expected ',' or '}', but "
                "got '<stream end>'; mend the YAML"
            ),
        ),
        (
            "a: \x07",
            "settings.yaml:1: special characters are not allowed; remove the character",
        ),
        (
            "kafka: {group: !own x}",
            (
                "settings.yaml:1: kafka.group: is a value of the YAML type of its own; put a text "
                "in quotes"
            ),
        ),
        (
            "kafka: &all {group: *all}",
            (
                "settings.yaml:1: an alias of nothing before it; put a text that begins with * in "
                "quotes"
            ),
        ),
    ],
)
def test_a_file_that_cannot_be_looked_at_is_refused(text: str, line: str, tmp_path: Path) -> None:
    assert problems(text, tmp_path) == [f"settings: {line}"]


def test_all_that_is_wrong_with_the_yaml_is_named_at_once(tmp_path: Path) -> None:
    lines = problems("log:\n  level: !own x\n  format: !!int x\n  level: a", tmp_path)
    assert [line.partition("log.")[2].partition(";")[0] for line in lines] == [
        "format: is no int",
        "level: 'level' stands on line 2 already",
    ]


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    with pytest.raises(Halt, match=re.escape(f"{file}: cannot be read (No such file")):
        load_settings(file, environment=BUCKETS)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Halt, match=re.escape(f"{file}:1: not UTF-8")):
        load_settings(file, environment=BUCKETS)
