"""docs/decisions.md shows what works: its commands on images are run with the demo's model, one
after the other, and print what the page shows."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.adapters.label_files import load_label_sets
from pipeline.errors import Halt
from tests.rigs.root import ROOT
from tests.rigs.serve.browser import chromium
from workers.cli import app
from workers.commands.evaluation import embedding
from workers.demo.shapes import COLOURS

pytestmark = pytest.mark.component

PAGE = (ROOT / "docs/decisions.md").read_text(encoding="utf-8")
EXIT_CODES = {
    "demo": 0,
    "labels test --groups": 0,
    "labels test": 1,
    "labels tune --calibrate": 0,
    "labels train-head": 0,
    "labels tune --prompts": 0,
    "labels tune": 0,
    "evaluate": 0,
}
"""By the words of a command: the first whose words it has. The page's other commands need a broker:
``test_examples_on_records.py``."""
CUT = "…\n"
"""Begins an output of which the page shows the end alone."""
NUMBER = re.compile(r"\d+(?:\.\d+)?")
TOLERANCE = 4
"""Per cent, and images. Batches of other sizes and other processors compute other last bits, so an
image or two may change sides."""
HASH = re.compile(r"sha256:[0-9a-f]+")
TRAINS = "labels train-head"
"""Its label set has a version that follows from the last bits of the weights."""
UNSTEADY = ("taken for", "worst class")
"""What lines say that are about one or two images."""


EXAMPLE = re.compile(r"```sh\n((?:(?!```).)*)```\n\n```text\n(.*?)```", re.DOTALL)
"""A block of commands, with a block of what they print right below."""


def examples() -> Iterator[tuple[str, list[str], str]]:
    """The name in ``EXIT_CODES``, the words and the output of each command that needs no broker."""
    for command, shown in EXAMPLE.findall(PAGE):
        words = shlex.split(command.replace("\\\n", " "))
        name = next((name for name in EXIT_CODES if {*name.split()} <= {*words}), None)
        if name is not None:
            yield name, words, shown


EXAMPLES = list(examples())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder from which the page's paths lead to the examples and the demo's model."""
    place = tmp_path_factory.mktemp("decisions")
    (place / "deploy").symlink_to(ROOT / "deploy")
    (place / "workers").symlink_to(ROOT / "workers")
    return place


@pytest.fixture(scope="module")
def outputs(place: Path) -> dict[str, tuple[int, str]]:
    """What each command of the page prints, run in the page's order, and its exit code."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(embedding, "CACHE", place / "embeddings")
        runner = CliRunner(env={"CLIPSTREAM_LABEL_SETS__TEXT_CACHE_DIR": str(place / "texts")})
        for name, words, _ in EXAMPLES:
            result = runner.invoke(app, words[1:])
            if result.exception and not isinstance(result.exception, SystemExit):
                raise result.exception
            found[name] = (result.exit_code, result.stdout)
    return found


def lines(text: str) -> list[str]:
    """Lines that hold on every machine, without their spacing and rules."""
    kept = (" ".join(line.split()) for line in text.splitlines())
    return [
        line
        for line in kept
        if line and "─" not in line and not any(words in line for words in UNSTEADY)
    ]


def without_numbers(text: str) -> list[str]:
    """The lines with their numbers left out."""
    return [NUMBER.sub("N", line) for line in lines(text)]


def numbers(text: str) -> list[float]:
    """The numbers of the lines, but for those of hashes."""
    plain = HASH.sub("", "\n".join(lines(text)))
    return [float(each) for each in NUMBER.findall(plain)]


def test_the_page_has_an_example_of_each_command() -> None:
    assert sorted(name for name, _, _ in EXAMPLES) == sorted(EXIT_CODES)


@pytest.mark.parametrize("name", EXIT_CODES)
def test_a_command_prints_what_the_page_shows(
    outputs: dict[str, tuple[int, str]], name: str
) -> None:
    (shown,) = [text for example, _, text in EXAMPLES if example == name]
    code, printed = outputs[name]
    assert code == EXIT_CODES[name]
    if shown.startswith(CUT):
        shown = shown.removeprefix(CUT)
        printed = "\n".join(lines(printed)[-len(lines(shown)) :])
    if name == TRAINS:
        printed, shown = (HASH.sub("sha256:", each) for each in (printed, shown))
    assert without_numbers(printed) == without_numbers(shown)
    assert numbers(printed) == pytest.approx(numbers(shown), abs=TOLERANCE)


def test_the_missing_label_makes_the_difference_between_groups(
    outputs: dict[str, tuple[int, str]], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    """As the page says: with the label `ring`, no rate differs by more than chance."""
    assert outputs  # the sample is there, and its embeddings
    monkeypatch.chdir(place)
    monkeypatch.setattr(embedding, "CACHE", place / "embeddings")
    differ = {}
    for name in ("kinds", "no-ring"):
        file = f"deploy/examples/decisions/{name}.yaml"
        words = ["labels", "test", file, "--images", "shapes/sample.csv", "--json"]
        settings = ["-c", "deploy/examples/decisions/settings.yaml", "--groups", "colour"]
        (by_colour,) = json.loads(CliRunner().invoke(app, [*words, *settings]).stdout)["groups"]
        assert len(by_colour["images"]) == len(COLOURS)
        assert sum(by_colour["images"].values()) + by_colour["in_no_group"] == 2000
        differ[name] = {
            (label["name"], what)
            for label in by_colour["labels"]
            for what, rate in label["rates"].items()
            if rate["largest_gap"]["difference"]["low"] > 0
        }
    assert differ["kinds"] == set()
    assert ("circle", "false_positives") in differ["no-ring"]


def test_tuning_writes_a_label_set_that_differs_in_thresholds_and_pin_alone(
    outputs: dict[str, tuple[int, str]], place: Path
) -> None:
    assert "tuned.yaml" in outputs["labels tune"][1]
    (old,) = load_label_sets([ROOT / "deploy/examples/decisions/kinds.yaml"])
    (new,) = load_label_sets([place / "tuned.yaml"])
    assert new.model is not None
    assert new.version != old.version
    assert [label.prompts for label in new.labels] == [label.prompts for label in old.labels]
    star = next(label for label in new.labels if label.name == "star")
    assert star.act is not None
    assert star.act.score > 0.8


def test_wordings_are_taken_only_if_the_held_out_images_show_that_they_are_better(
    outputs: dict[str, tuple[int, str]], place: Path
) -> None:
    assert "kept: cross" in outputs["labels tune --prompts"][1]
    (old,) = load_label_sets([ROOT / "deploy/examples/decisions/plain.yaml"])
    (new,) = load_label_sets([place / "reworded.yaml"])
    prompts = {label.name: label.prompts for label in old.labels}
    changed = {each.name: each.prompts for each in new.labels if each.prompts != prompts[each.name]}
    assert changed == {
        "star": ("a picture of a star",),
        "ring": ("a picture of a ring", "a drawing of a ring"),
    }
    assert new.model is not None


def test_wordings_thresholds_and_probabilities_can_be_had_at_once(
    outputs: dict[str, tuple[int, str]], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    """Thresholds and probabilities are those of the new wordings' scores."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(embedding, "CACHE", place / "embeddings")
    assert outputs  # the sample is there, and its embeddings
    (words,) = [words[1:] for name, words, _ in EXAMPLES if name == "labels tune --prompts"]
    words = [{"reworded.yaml": "all.yaml", "wordings.html": "all.html"}.get(w, w) for w in words]
    runner = CliRunner(env={"CLIPSTREAM_LABEL_SETS__TEXT_CACHE_DIR": str(place / "texts")})
    result = runner.invoke(app, [*words, "--calibrate", "platt"])
    assert result.exit_code == 0, result.output
    (reworded,) = load_label_sets([place / "reworded.yaml"])
    (new,) = load_label_sets([place / "all.yaml"])
    assert all(label.calibration for label in new.labels)
    without = [replace(label, calibration=None) for label in new.labels]
    assert without == list(reworded.labels)
    note = (place / "all.yaml").read_text(encoding="utf-8").split("\n\n")[0]
    for told in ("# Wordings of star, ring,", "# Thresholds: precision", "# Probabilities: platt."):
        assert told in note
    page = (place / "all.html").read_text(encoding="utf-8")
    for heading in ("Wordings", "On the held-out images", "Probabilities"):
        assert f"<h2>{heading}</h2>" in page


def test_a_head_is_tuned_but_has_no_wordings(
    outputs: dict[str, tuple[int, str]], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(embedding, "CACHE", place / "embeddings")
    assert "kinds-head.yaml" in outputs["labels train-head"][1]
    words = ["labels", "tune", "kinds-head.yaml", "--images", "shapes/sample.csv"]
    words += ["-c", "deploy/examples/decisions/settings.yaml", "-o", "tuned-head.yaml"]
    result = CliRunner().invoke(app, [*words, "--recall", "0.9"])
    assert result.exit_code == 0, result.output
    (old,), (new,) = (load_label_sets([place / f"{name}-head.yaml"]) for name in ("kinds", "tuned"))
    assert new.head == old.head
    assert new.version != old.version
    words[words.index("-o") + 1] = "worded-head.yaml"
    candidates = "deploy/examples/decisions/candidates.yaml"
    refused = CliRunner().invoke(app, [*words, "--prompts", candidates])
    assert isinstance(refused.exception, Halt)
    assert "scores with a head, which reads no prompts" in refused.exception.message


def test_reports_load_nothing_and_the_slider_counts(
    outputs: dict[str, tuple[int, str]], place: Path
) -> None:
    assert outputs
    with chromium() as browser:
        page = browser.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        for name in ("test", "groups", "evaluate", "calibrate", "head", "wordings", "tune"):
            page.goto((place / f"{name}.html").as_uri())
        told = page.locator("[data-steps] output").first
        before = told.inner_text()
        assert "of 800 images match" in before
        page.locator("[data-steps] input").first.fill("0")
        assert told.inner_text() != before
        assert complaints == []
