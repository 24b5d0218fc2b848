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


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "log: {level: info}\nlog: {level: error}",
            "log: 'log' stands on line 1 already; keep one [settings.yaml:2]",
        ),
        (
            "log:\n  level: info\n  level: error",
            "log.level: 'level' stands on line 2 already; keep one [settings.yaml:3]",
        ),
        (
            "log: {level: info, level: error}",
            "log.level: 'level' stands on line 1 already; keep one [settings.yaml:1]",
        ),
        (
            "log: {level: info}\nkafka:\n  group: a\n  group: !own b",
            (
                "kafka.group: 'group' stands on line 3 already; keep one [settings.yaml:4]",
                (
                    "kafka.group: is a value of the YAML type of its own; put a text in quotes "
                    "[settings.yaml:4]"
                ),
            ),
        ),
        (
            "fetch: {max_open_objects: !!int x}",
            "fetch.max_open_objects: is no int; remove its tag [settings.yaml:1]",
        ),
        (
            f"fetch: {{max_open_objects: {'9' * 40}}}",
            (
                "fetch.max_open_objects: is too long for an int; put a text in quotes "
                "[settings.yaml:1]"
            ),
        ),
    ],
)
def test_a_problem_of_the_yaml_reads_like_any_other(
    text: str, line: str | tuple[str, ...], tmp_path: Path
) -> None:
    assert problems(text, tmp_path) == ([line] if isinstance(line, str) else list(line))


def test_problems_of_the_yaml_and_of_the_values_are_named_at_once(tmp_path: Path) -> None:
    text = "log:\n  level: !own x\n  format: !!int x\n  level: a\nworkers: {count: none}"
    lines = problems(text, tmp_path, LOG__FORMAT="none")
    assert [line.partition(";")[0] for line in lines] == [
        "log.level: is a value of the YAML type of its own",
        "log.format: is no int",
        "log.level: 'level' stands on line 2 already",
        'workers.count: is "none"',
        'log.format: is "none"',
    ]


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    with pytest.raises(Halt, match=re.escape(f"{file}: cannot be read (No such file")):
        load_settings(file, environment=BUCKETS)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Halt, match=re.escape(f"{file}:1: not UTF-8")):
        load_settings(file, environment=BUCKETS)
