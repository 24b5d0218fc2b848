"""What the commands do with images that cannot be used, with embeddings that they have, and what
they say to programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pipeline.adapters.label_files import load_label_sets
from pipeline.errors import Halt
from pipeline.labels.scoring import compile_label_sets
from tests.rigs.root import ROOT
from workers.cli import app
from workers.commands.evaluation import embedding
from workers.commands.evaluation.scoring import score_sample
from workers.demo.accuracy import Measurement
from workers.demo.sample import write_sample
from workers.demo.shapes import DemoImage
from workers.settings.loading import Settings, load_settings
from workers.stages import load_encoder

pytestmark = pytest.mark.component

LABEL_SET = ROOT / "workers/demo/labels.yaml"
IMAGES = 49


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image of each label, and two files that are none."""
    folder = tmp_path_factory.mktemp("sample") / "shapes"
    write_sample(folder, IMAGES)
    (folder / "red star/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (folder / "red star/notes.txt").write_text("not an image")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    cache = tmp_path_factory.getbasetemp() / "image-embeddings"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(embedding, "CACHE", cache)
        patch.setenv("CLIPSTREAM_LABEL_SETS__TEXT_CACHE_DIR", str(cache))
        yield cache


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(ROOT / "deploy/examples/decisions/settings.yaml", environment={})


def run(*words: str) -> Result:
    config = str(ROOT / "deploy/examples/decisions/settings.yaml")
    result = CliRunner().invoke(app, [*words, "-c", config])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_program_reads_one_object_that_names_what_was_not_used(folder: Path) -> None:
    result = run("labels", "test", str(LABEL_SET), "--images", str(folder), "--json")
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["sample"]["images"] == IMAGES
    refused = {each["name"]: each["code"] for each in found["sample"]["not_used"]}
    assert refused == {
        "red star/broken.jpg": "decode.truncated",
        "red star/notes.txt": "decode.unsupported_format",
    }
    assert len(found["labels"]) == IMAGES
    assert {label["positives"] for label in found["labels"]} == {1}
    assert found["right"]["of"] == IMAGES
    (label_set,) = load_label_sets([LABEL_SET])
    assert found["version"] == label_set.version


def test_a_second_run_decodes_nothing_and_says_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A file that cannot be decoded is tried again each time, so it is left out here.
    rows = (folder / "sample.csv").read_text().splitlines()
    listed = folder / "list.csv"
    listed.write_text("\n".join(",".join(row.split(",")[:2]) for row in rows))
    words = ("labels", "test", str(LABEL_SET), "--images", str(listed), "--json")
    first = run(*words)

    def no_decoders(*_: object, **__: object) -> None:
        raise AssertionError("decoders were started")

    monkeypatch.setattr(embedding, "looking_by", no_decoders)
    assert run(*words).stdout == first.stdout


def test_strictness_is_about_too_few_images(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.yaml"
    text = LABEL_SET.read_text()
    file.write_text(f"expect: {{recall: 0.5}}\n{text}")
    words = ("labels", "test", str(file), "--images", str(folder))
    result = run(*words)
    assert (result.exit_code, "too few images to be sure" in result.stdout) == (0, True)
    assert run(*words, "--strict").exit_code == 1


def test_groups_of_images_that_nobody_labelled_are_compared(folder: Path, tmp_path: Path) -> None:
    """What the probes of deploy/examples/label-sets are for: which label is the best of whom."""
    rows = (folder / "sample.csv").read_text().splitlines()
    listed = folder / "unlabelled.csv"
    words = [row.split(",") for row in rows]
    listed.write_text("\n".join(f"{path},{colour}" for path, _, colour, *_ in words))
    command = ("labels", "test", str(LABEL_SET), "--images", str(listed), "--groups", "colour")
    report = tmp_path / "report.html"
    result = run(*command, "--report", str(report))
    assert result.exit_code == 0
    assert "few: red:" in result.stdout  # six images of each colour
    assert "precision" not in report.read_text()
    found = json.loads(run(*command, "--json").stdout)
    (by_colour,) = found["groups"]
    best = {
        label["name"]: label["rates"]["best_label"]["groups"]["red"]["hits"]
        for label in by_colour["labels"]
        if label["score"] is None
    }
    assert sum(best.values()) == by_colour["images"]["red"] == 6
    assert best["red star"] == 1
    assert found["labels"] == []


def test_a_set_that_expects_something_needs_labels(tmp_path: Path) -> None:
    """Else a check in CI would pass because a column was renamed."""
    listed = tmp_path / "list.csv"
    listed.write_text("path,colour\n1.jpg,red\n")
    kinds = str(ROOT / "deploy/examples/decisions/kinds.yaml")
    words = ("labels", "test", kinds, "--images", str(listed), "--groups", "colour")
    with pytest.raises(Halt, match="has no labels, and kinds expects a precision or recall"):
        run(*words)


def test_labels_that_the_model_hardly_tells_apart_are_named(tmp_path: Path) -> None:
    """The demo's model was never trained with these words around a shape."""
    file = tmp_path / "labels.yaml"
    templates = "  - a picture of {}\n  - an image of {}\n"
    file.write_text(LABEL_SET.read_text().replace(templates, "  - this is {}\n"))
    words = ("labels", "check", str(file))
    assert "alike" not in run(*words).stdout
    assert "alike: 'yellow cross' and 'white cross' are nearly" in run(*words, "--alike").stdout
    assert "alike:" not in run("labels", "check", str(LABEL_SET), "--alike").stdout


def test_scores_are_those_of_a_worker(folder: Path, settings: Settings) -> None:
    from rich.console import Console

    scored = score_sample(settings, LABEL_SET, folder, Console(quiet=True))
    encoder = load_encoder(settings)
    (compiled,) = compile_label_sets(
        load_label_sets([LABEL_SET]), encoder.encode_texts, encoder.model
    )
    bodies = [
        DemoImage(image.name, image.read(), next(iter(image.labels)))
        for image in scored.embedded.images
    ]
    cosines = Measurement.of(encoder, bodies).cosines  # type: ignore[arg-type]
    for place, vector in enumerate(scored.embedded.embeddings):
        result = compiled.score(vector)
        assert scored.scores[place] == pytest.approx([each.score for each in result.scores])
        assert [each.similarity for each in result.scores] == pytest.approx(
            cosines[place].tolist(), abs=1e-5
        )
    assert np.array_equal(scored.truth.sum(axis=1), np.ones(IMAGES))
