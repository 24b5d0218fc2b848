"""Label set files: every problem of every file, each with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.adapters.label_files import load_label_sets
from pipeline.adapters.yaml_lines import MAX_DEPTH, MAX_FILE_BYTES
from pipeline.errors import Halt
from pipeline.labels.written import (
    CALIBRATION_KEYS,
    HEAD_KEYS,
    LABEL_KEYS,
    MODEL_KEYS,
    REVIEW_IF_KEYS,
    SET_KEYS,
)
from tests.rigs.root import ROOT

EXAMPLES = ROOT / "deploy" / "examples" / "label-sets"

PETS = """\
name: pets
decision: exclusive
actions: [review, tag, none]
default_action: none
labels:
  - name: dog
    prompts: [a dog]
    act_threshold: 0.5
    act_action: tag
  - name: other
    prompts: [a photo]
    neutral: true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "set.yaml"


def problems(*paths: Path) -> list[str]:
    with pytest.raises(Halt) as caught:
        load_label_sets(paths)
    assert caught.value.code == "label_set.invalid"
    return caught.value.message.splitlines()


def write(file: Path, content: str | bytes) -> Path:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def test_comments_order_and_formatting_do_not_change_the_version(tmp_path: Path) -> None:
    reformatted = """\
# Pets, for the shop.
{decision: "exclusive",
 labels: [{"act_action": 'tag', act_threshold: 5.0e-1, prompts: ["a   dog"], name: dog},
          {name: other, neutral: True,   # anything else
           prompts: [a photo]}],
 default_action: none, actions:
   [review, 'tag', none], name: pets}
"""
    (plain,) = load_label_sets([write(tmp_path / "a.yaml", PETS)])
    (same,) = load_label_sets([write(tmp_path / "b.yaml", reformatted)])
    (other,) = load_label_sets([write(tmp_path / "c.yaml", PETS.replace("0.5", "0.51"))])

    assert same == plain
    assert same.version == plain.version != other.version


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b"%YAML 1.1\n---\n"])
def test_a_byte_order_mark_and_a_directive_are_read_past(file: Path, prefix: bytes) -> None:
    (label_set,) = load_label_sets([write(file, prefix + PETS.encode())])

    assert label_set.name == "pets"


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("name: pets", "nam: pets", 1, "did you mean name?"),
        ("name: pets", "name: pets\nname: cats", 2, "'name' stands on line 1 already; keep one"),
        ("act_threshold: 0.5", "act_threshold: 1.5", 8, "labels[0].act_threshold: 1.5"),
        ("act_threshold: 0.5", "act_threshold: '0.5'", 8, "the text '0.5'; write a number"),
        ("act_threshold: 0.5", "act_threshold: .inf", 8, "inf is no probability"),
        ("act_threshold: 0.5", "act_threshold: 0x" + "f" * 40, 8, "too long for an int"),
        ("act_threshold: 0.5", "act_threshold: !!int ''", 8, "is no int; remove its tag"),
        ("act_threshold: 0.5", "act_threshold: !!bool x", 8, "is no bool; remove its tag"),
        ("act_threshold: 0.5", "act_threshold:", 8, "is empty"),
        ("name: dog", "name: true", 6, "the boolean true; write a text, in quotes"),
        ("name: dog", "name: 2024-01-01", 6, "'timestamp'; put a text in quotes"),
        ("name: dog", "name: !!python/name:os.system x", 6, "YAML type 'python/name:os.system'"),
        ("name: dog", "name: !own x", 6, "YAML type '!own'"),
        ("prompts: [a dog]", "prompts: !!set {a dog}", 7, "YAML type 'set'"),
        ("prompts: [a dog]", "prompts: &p [a dog]\n    phrases: *p", 8, "aliases"),
        ("prompts: [a dog]", "prompts:\n      - a dog\n      - a {}", 9, "braces"),
        ("    prompts: [a dog]\n", "", 6, "nothing to embed"),
        ("neutral: true", "neutral: true\n    [x]: y", 13, "a key is a list"),
        ("neutral: true", "neutral: true\n    <<: {}", 13, "unknown key"),
        ("neutral: true", "neutral: true\n  name: x", 13, "not read: "),
        ("neutral: true", "neutral: [", 13, "not read: "),
        ("neutral: true", "neutral: true\n---\nname: b", 13, "single document"),
        ("neutral: true", 'neutral: "\\UFFFFFFFF"', 12, "check the escapes"),
        ("neutral: true", "neutral: true # \x07", 12, "remove the character"),
        ("neutral: true", "neutral: " + "[" * 500, 12, f"deeper than {MAX_DEPTH} levels"),
    ],
)
def test_a_problem_is_reported_with_its_line(
    file: Path, old: str, new: str, line: int, message: str
) -> None:
    assert PETS.count(old) == 1

    found = problems(write(file, PETS.replace(old, new)))

    assert all(problem.startswith(f"{file}:{line}: ") for problem in found)
    assert message in found[0]


def test_a_wrong_value_of_a_repeated_key_is_named_by_that_key(file: Path) -> None:
    found = problems(write(file, PETS.replace("name: dog", "name: dog\n    name: !own cat")))
    assert found == [
        f"{file}:7: labels[0].name: 'name' stands on line 6 already; keep one",
        f"{file}:7: labels[0].name: is a value of the YAML type '!own'; put a text in quotes",
    ]


@pytest.mark.parametrize("word", ["no", "off", "on", "yes", "No", "OFF", "y"])
def test_a_word_that_other_readers_of_yaml_take_for_a_boolean_is_a_text(
    file: Path, word: str
) -> None:
    (label_set,) = load_label_sets([write(file, PETS.replace("name: dog", f"name: {word}"))])
    assert label_set.labels[0].name == word


def test_a_flag_keeps_such_a_word_and_its_version(tmp_path: Path) -> None:
    (plain,) = load_label_sets([write(tmp_path / "a.yaml", PETS)])
    words = PETS.replace("neutral: true", "neutral: yes")
    (same,) = load_label_sets([write(tmp_path / "b.yaml", words)])
    assert (same, same.version) == (plain, plain.version)


@pytest.mark.parametrize(
    ("content", "place", "message"),
    [
        (b"", ":1: ", "the file is empty"),
        (b"# nothing\n", ":1: ", "the file is empty"),
        (b"- 1\n", ":1: ", "is a list; write a mapping"),
        (b"name: a\nx: \xff\n", ":2: ", "not UTF-8"),
        (b"#" * (MAX_FILE_BYTES + 1), ": ", "larger than 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_label_set_is_named(
    file: Path, content: bytes, place: str, message: str
) -> None:
    (found,) = problems(write(file, content))

    assert found.startswith(f"{file}{place}")
    assert message in found


def test_the_problems_of_all_files_come_together_in_the_order_of_their_lines(
    tmp_path: Path,
) -> None:
    a = write(tmp_path / "a.yaml", PETS.replace("default_action: none", "default_action: x"))
    b = write(tmp_path / "b.yaml", PETS.replace("0.5", "5").replace("name: pets", "nam: pets"))
    missing = tmp_path / "missing.yaml"

    found = problems(a, b, missing)

    assert [line.split(": ")[0] for line in found] == [
        f"{a}:4",
        f"{b}:1",
        f"{b}:1",
        f"{b}:8",
        str(missing),
    ]


def test_a_name_is_taken_once_over_all_files(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.yaml", PETS), write(tmp_path / "b.yaml", "# second\n" + PETS)

    (found,) = problems(a, b)

    assert found.startswith(f"{b}:2: ")
    assert f"is taken by {a}:1" in found


def test_a_folder_stands_for_its_yaml_files(tmp_path: Path) -> None:
    write(tmp_path / "b.yml", PETS.replace("name: pets", "name: b"))
    write(tmp_path / "a.yaml", PETS.replace("name: pets", "name: a"))
    write(tmp_path / "notes.txt", "no label set")

    assert [label_set.name for label_set in load_label_sets([tmp_path])] == ["a", "b"]


def test_an_empty_folder_and_an_empty_list_are_problems(tmp_path: Path) -> None:
    assert problems(tmp_path) == [f"{tmp_path}: the folder has no .yaml or .yml file; add one"]
    assert "label_sets.paths" in problems()[0]


def test_the_examples_load_without_advice_but_to_pin_a_model() -> None:
    label_sets = load_label_sets([EXAMPLES])

    assert [label_set.name for label_set in label_sets] == ["general-objects", "moderation"]
    for label_set in label_sets:
        assert [advice.split(":")[0] for advice in label_set.advice()] == ["no model is pinned"]


def test_the_documentation_describes_every_key() -> None:
    reference = (ROOT / "docs" / "label-sets.md").read_text()

    for key in {
        *SET_KEYS,
        *HEAD_KEYS,
        *CALIBRATION_KEYS,
        *LABEL_KEYS,
        *MODEL_KEYS,
        *REVIEW_IF_KEYS,
    }:
        assert f"`{key}`" in reference, key


def test_the_example_of_the_documentation_is_a_label_set(file: Path) -> None:
    reference = (ROOT / "docs" / "label-sets.md").read_text()
    example = reference.partition("```yaml\n")[2].partition("```")[0]

    (label_set,) = load_label_sets([write(file, example)])

    assert label_set.labels
