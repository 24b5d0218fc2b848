"""`clipstream labels check` shows label sets, or their problems."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.adapters.label_files import load_label_sets
from workers.commands.labels import app

PETS = """\
name: pets
decision: independent
actions: [block, review, none]
default_action: none
contrast: [a photo]
model: {name: clip, revision: abc}
labels:
  - {name: dog, prompts: [a, b, c, d, e], act_threshold: 0.75, act_action: block}
  - {name: "cat [x]", prompts: [a cat], review_threshold: 0.5, review_action: review}
"""


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner(env={"COLUMNS": "120"})


def test_a_sound_set_is_shown_with_all_that_it_says(runner: CliRunner, tmp_path: Path) -> None:
    file = tmp_path / "pets.yaml"
    file.write_text(PETS)

    result = runner.invoke(app, ["check", str(file)])

    assert result.exit_code == 0
    (label_set,) = load_label_sets([file])
    for shown in (
        *("pets", "independent", "block > review > none", "clip at abc", label_set.version),
        *("dog", "and 2 more", "0.75 block", "cat [x]", "0.5 review", "a photo", "never"),
    ):
        assert shown in result.output
    assert "advice" not in result.output


def test_advice_does_not_fail_the_check(runner: CliRunner, tmp_path: Path) -> None:
    file = tmp_path / "pets.yaml"
    file.write_text(PETS.replace("model: {name: clip, revision: abc}\n", ""))

    result = runner.invoke(app, ["check", str(file)])

    assert result.exit_code == 0
    assert "advice: no model is pinned" in result.output


def test_a_file_given_twice_is_named_once_as_such(runner: CliRunner, tmp_path: Path) -> None:
    file = tmp_path / "pets.yaml"
    file.write_text(PETS)

    result = runner.invoke(app, ["check", str(file), str(tmp_path)])

    assert result.exit_code == 1
    assert result.stderr == (
        f"{file}: is given twice; name the file once, itself or by its folder\n"
    )


def test_problems_go_to_stderr_a_line_each_and_fail_the_check(
    runner: CliRunner, tmp_path: Path
) -> None:
    file = tmp_path / "pets.yaml"
    file.write_text(PETS.replace("decision: independent", "decision: x").replace("0.75", "7.5"))

    result = runner.invoke(app, ["check", str(file)])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == [
        f"{file}:2",
        f"{file}:8",
    ]
