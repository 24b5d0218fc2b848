"""`clipstream labels check` shows label sets, or their problems."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.adapters.label_files import load_label_sets
from pipeline.errors import Halt
from tests.rigs.root import ROOT
from workers.commands.labels.commands import app

MODEL_DIRECTORY = ROOT / "workers" / "demo" / "model"
"""A checkpoint with a tokenizer like CLIP's, of 32 tokens a prompt."""

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
    """Without settings, and without a model at hand."""
    return CliRunner(env={"COLUMNS": "120", "CLIPSTREAM_MODEL__CACHE_DIRECTORY": "/nowhere"})


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


def check(runner: CliRunner, file: Path, *options: str) -> Result:
    return runner.invoke(app, ["check", str(file), *options])


LIKE_A_WORKER = ("-s", f"model.directory={MODEL_DIRECTORY}")
ALIKE = PETS.replace("prompts: [a cat]", "prompts: [A, b, C, d, e]")
LONG = PETS.replace("a cat]", "{}]".format("very " * 40 + "long cat"))
UNPINNED = "model: {name: clip, revision: abc}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (ALIKE, "labels[1]: the model cannot tell it from 'dog'"),
        (LONG, "tokens, more than the model's 32; shorten it"),
    ],
)
def test_what_a_worker_refuses_is_found_with_the_tokenizer_of_its_model(
    runner: CliRunner, tmp_path: Path, text: str, problem: str
) -> None:
    file = tmp_path / "pets.yaml"
    file.write_text(text.replace(UNPINNED, ""))

    result = check(runner, file, *LIKE_A_WORKER)

    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{file}:8: ")
    assert problem in line


def test_a_sound_set_passes_with_the_tokenizer_and_the_last_line_says_so(
    runner: CliRunner, tmp_path: Path
) -> None:
    file = tmp_path / "pets.yaml"
    file.write_text(PETS.replace(UNPINNED, ""))

    result = check(runner, file, *LIKE_A_WORKER)

    assert result.exit_code == 0
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("prompts checked with the tokenizer of ")


def test_without_the_tokenizer_at_hand_it_says_what_was_not_checked(
    runner: CliRunner, tmp_path: Path
) -> None:
    file = tmp_path / "pets.yaml"
    file.write_text(ALIKE)

    result = check(runner, file)

    assert result.exit_code == 0
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("prompts not checked with a tokenizer: ")
    assert "not in the hub's local cache" in last


def test_a_pin_to_another_model_is_found_where_the_settings_say_which_it_is(
    runner: CliRunner, tmp_path: Path
) -> None:
    file = tmp_path / "pets.yaml"
    file.write_text(PETS)

    result = check(runner, file, *LIKE_A_WORKER)

    assert result.exit_code == 1
    assert "'pets' is tuned for clip at revision abc; loaded is" in result.stderr
    override = check(runner, file, *LIKE_A_WORKER, "-s", "label_sets.override_model_pin=true")
    assert override.exit_code == 0


def test_wrong_settings_of_the_model_are_told(runner: CliRunner, tmp_path: Path) -> None:
    file = tmp_path / "pets.yaml"
    file.write_text(PETS)

    result = check(runner, file, "-s", "model.device=tpu")

    assert isinstance(result.exception, Halt)
    assert 'model.device: is "tpu"; write' in result.exception.message
