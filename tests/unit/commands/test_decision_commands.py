"""`clipstream labels test`, `labels tune` and `evaluate` refuse at once what cannot work."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.adapters.samples import fitting
from pipeline.errors import Halt
from tests.rigs.root import ROOT
from workers.cli import app

LABEL_SET = ROOT / "deploy/examples/decisions/kinds.yaml"


def run(*words: str) -> Result:
    """The commands load a model only after these checks, so none is needed."""
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [*words, "--images", "nowhere"])


def tune(*words: str) -> Result:
    return run("labels", "tune", str(LABEL_SET), *words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "give one of --precision, --recall and --cost"),
        (("--precision", "0.9", "--recall", "0.9"), "give one of"),
        (("--calibrate", "platt", "--recall", "0.9", "--cost", "1:2"), "give one of"),
        (("--calibrate", "straight"), "'platt', 'isotonic'"),
        (("--precision", "1"), "less than or equal to 0.999"),
        (("--cost", "20"), "20: write two numbers, as in 1:20"),
        (("--cost", "0:20"), "0:20: write two numbers"),
        (("--cost", "1:-2"), "1:-2: write two numbers"),
        (("--prompts", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_a_goal_that_is_none_is_a_mistyped_option(words: tuple[str, ...], says: str) -> None:
    result = tune(*words)
    assert result.exit_code == 2
    assert says in result.stderr


def code_of(result: Result) -> str:
    assert isinstance(result.exception, Halt)
    return result.exception.code


def test_wordings_are_read_before_a_model_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "candidates.yaml"
    file.write_text("hexagon:\n  - prompts: [a hexagon]\n")
    assert code_of(tune("--prompts", str(file))) == "tune.candidates"


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "pets.yaml"
    file.write_text(LABEL_SET.read_text())
    (tmp_path / "pets.tuned.yaml").write_text("mine")
    result = run("labels", "tune", str(file), "--recall", "0.9")
    assert code_of(result) == "tune.exists"
    assert (tmp_path / "pets.tuned.yaml").read_text() == "mine"


def test_a_report_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    report = str(tmp_path / "missing/report.html")
    for words in (
        ("labels", "test", str(LABEL_SET)),
        ("labels", "tune", str(LABEL_SET), "--recall", "0.9"),
        ("labels", "preview", str(LABEL_SET)),
        ("evaluate",),
    ):
        assert code_of(run(*words, "--report", report)) == "evaluate.invalid"
    diff = ["labels", "diff", str(LABEL_SET), str(LABEL_SET), "--report", report]
    assert code_of(CliRunner().invoke(app, diff)) == "evaluate.invalid"


def test_learning_without_its_package_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitting, "find_spec", lambda name: None)
    assert code_of(tune("--calibrate", "platt")) == "evaluate.lacks_package"


def test_a_head_learns_from_centres_alone() -> None:
    refused = run("labels", "train-head", "new", "-s", "decode.views=all")
    assert isinstance(refused.exception, Halt)
    assert "a head learns from centres; add `-s decode.views=centre`" in refused.exception.message


def test_a_sample_that_is_not_there_is_refused_before_a_model_is_loaded() -> None:
    assert code_of(run("labels", "test", str(LABEL_SET))) == "sample.invalid"
    assert code_of(tune("--recall", "0.9")) == "sample.invalid"
    assert code_of(run("evaluate")) == "sample.invalid"


def test_an_unknown_benchmark_is_a_mistyped_option() -> None:
    result = run("evaluate", "--benchmark", "imagnet")
    assert result.exit_code == 2
    assert "imagenet" in result.stderr
