"""`clipstream labels diff` and `labels preview` on images of the demo, by its model."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from pipeline.adapters.label_files import load_label_sets
from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.adapters.s3.admin import S3Admin
from pipeline.errors import Halt
from tests.rigs.recorded import MODEL_DIRECTORY, Published, publish, published
from tests.rigs.services.kafka_deployment import Deployment
from tests.rigs.stages.backfill_job import ENCODER, bodies, compiled, label_set, write_job
from workers import cli
from workers.commands.labels.comparing.diffing import run_diff
from workers.commands.labels.comparing.sources import Selection
from workers.demo.accuracy import LABELS_FILE
from workers.embedded.s3 import S3Server
from workers.settings.loading import Settings

pytestmark = pytest.mark.component

IMAGES = 120
DERIVED = "derived"
NEW = (
    LABELS_FILE.read_text()
    .replace("[a red star], act_threshold: 0.8", "[a red star], act_threshold: 1.0")
    .replace(
        "[an orange ring], act_threshold: 0.5",
        "[an orange ring], act_threshold: 0.5, act_action: review",
    )
)
"""Red stars are looked at by a person, and orange rings too."""


class Desk:
    """Settings, the new label set, and the commands."""

    def __init__(self, folder: Path, kafka: dict[str, Any]) -> None:
        self.folder = folder
        self.new = folder / "new.yaml"
        self.new.write_text(NEW)
        self.page = folder / "page.html"
        self.settings = folder / "settings.yaml"
        self.settings.write_text(
            yaml.safe_dump(
                {
                    "model": {"directory": str(MODEL_DIRECTORY)},
                    "label_sets": {"text_cache_dir": str(folder / "texts")},
                    "kafka": kafka,
                }
            )
        )

    def run(self, *arguments: str) -> Result:
        runner = CliRunner(env={"COLUMNS": "120"})
        return runner.invoke(cli.app, ["labels", *arguments, "-c", str(self.settings)])

    def diff(self, *more: str) -> Any:
        result = self.run("diff", str(LABELS_FILE), str(self.new), "--json", *more)
        assert result.exit_code == 0, result.exception
        return json.loads(result.stdout)


@pytest.fixture(scope="module")
def stream(kafka_bootstrap: str) -> Iterator[dict[str, Any]]:
    """Settings of a stream whose outcomes are on the topics."""
    with Deployment(kafka_bootstrap, start=None) as deployment:
        publish(deployment.kafka, published(IMAGES))
        topics = deployment.kafka.output_topics.model_copy(update={"label_sets": None})
        yield {"bootstrap_servers": [kafka_bootstrap], "output_topics": topics.model_dump()}


@pytest.fixture
def desk(stream: dict[str, Any], tmp_path: Path) -> Desk:
    return Desk(tmp_path, stream)


def truths() -> Counter[str]:
    return Counter(str(each.image.truth) for each in published(IMAGES))


def best_label(outcome: Published) -> str:
    (result,) = json.loads(outcome.classification.value)["results"]
    best: str = max(result["scores"], key=lambda each: each["score"])["label"]
    return best


def test_the_topics_images_say_what_changes_and_how_many_a_day(desk: Desk) -> None:
    found = desk.diff()
    assert found["images"] == IMAGES
    changed = {
        (each["from"], each["to"]): each
        for each in found["decisions"]
        if each["from"] != each["to"]
    }
    counts = {pair: each["images"] for pair, each in changed.items()}
    assert counts == {
        ("reject", "review"): truths()["red star"],
        ("tag", "review"): truths()["orange ring"],
    }
    # A hundred images came a day, by the times of their references.
    assert found["images_per_day"] == pytest.approx(100.0)
    assert changed["tag", "review"]["per_day"] == pytest.approx(
        counts["tag", "review"] * 100 / IMAGES
    )
    samples = {each["uri"]: each for each in found["samples"]}
    assert len(samples) == sum(counts.values())
    for image in published(IMAGES):
        if image.image.truth == "red star":
            sample = samples[f"s3://photos/{image.image.key}"]
            assert sample["before"]["label"] == sample["now"]["label"] == "red star"
            assert sample["now"]["score"] == pytest.approx(sample["before"]["score"])


def test_nothing_changes_for_the_same_label_set(desk: Desk) -> None:
    desk.new.write_text(LABELS_FILE.read_text())
    found = desk.diff("--newest", "50")
    assert 0 < found["images"] <= 60
    assert found["changed"] == 0
    assert found["samples"] == []


def test_only_images_since_a_time_count(desk: Desk) -> None:
    later = desk.run("diff", str(LABELS_FILE), str(desk.new), "--since", "2100-01-01T00:00:00Z")
    assert "the classifications topic has no image" in str(later.exception)
    assert desk.diff("--since", "2026-01-01T00:00:00Z")["images"] == IMAGES
    wrong = desk.run("diff", str(LABELS_FILE), str(desk.new), "--since", "yesterday")
    assert wrong.exit_code == 2
    assert "yesterday" in wrong.output


def test_images_of_other_routes_are_left_out_unless_asked_for(desk: Desk) -> None:
    other = desk.folder / "other.yaml"
    other.write_text(LABELS_FILE.read_text().replace("name: shapes", "name: others"))
    result = desk.run("diff", str(other), str(desk.new))
    assert "scored none of 120 images; compare on all with --all-images" in str(result.exception)
    result = desk.run("diff", str(other), str(desk.new), "--all-images", "--images-per-day", "1000")
    assert "a day" in result.output
    assert re.search(r"tag +review +\d+ +\d+\.\d", result.output), result.output


def test_images_without_an_embedding_are_counted(kafka_bootstrap: str, tmp_path: Path) -> None:
    with Deployment(kafka_bootstrap, start=None) as deployment:
        publish(deployment.kafka, published(IMAGES)[:9], embeddings=4)
        topics = deployment.kafka.output_topics.model_copy(update={"label_sets": None})
        kafka = {"bootstrap_servers": [kafka_bootstrap], "output_topics": topics.model_dump()}
        found = Desk(tmp_path, kafka).diff()
    assert found["images"] == 4
    assert found["left_out"] == ["5 images have no embedding on the topic"]


@pytest.fixture(scope="module")
def tried_out(
    kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The file of a shadow set, and settings of a stream whose events hold its results, but those
    of the first images. No embedding was published."""
    file = tmp_path_factory.mktemp("shadow") / "next.yaml"
    text = NEW.replace("name: shapes", "name: shapes-next\nshadow: true", 1)
    file.write_text(
        text.replace("act_action: tag", "act_action: tag\nreview_if: {cropped_share: 0.2}", 1)
    )
    with Deployment(kafka_bootstrap, start=None) as deployment:
        both = published(IMAGES, files=(LABELS_FILE, file))
        publish(deployment.kafka, [*published(IMAGES)[:9], *both[9:]], embeddings=0)
        topics = deployment.kafka.output_topics.model_copy(update={"label_sets": None})
        kafka = {"bootstrap_servers": [kafka_bootstrap], "output_topics": topics.model_dump()}
        yield file, kafka


def test_results_of_a_shadow_set_are_compared_as_they_were_published(
    tried_out: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a model, and with what ``review_if`` has raised: the same as each event says."""
    file, kafka = tried_out
    desk = Desk(tmp_path, kafka)
    desk.new = file
    monkeypatch.setattr("workers.commands.labels.comparing.diffing.Prompts", None)
    found = desk.diff("--embeddings", "events")
    assert found["images"] == IMAGES - 9
    assert found["left_out"] == ["9 images were not scored with both versions"]
    assert found["images_per_day"] == pytest.approx(100.0)
    pairs: Counter[tuple[str, str]] = Counter()
    raised = set()
    for each in published(IMAGES, files=(LABELS_FILE, file))[9:]:
        event = json.loads(each.classification.value)
        in_force, shadow = event["results"]
        assert shadow["shadow"]
        pairs[in_force["decision"], shadow["decision"]] += 1
        if shadow.get("raised") and shadow["decision"] != in_force["decision"]:
            raised.add(event["reference"]["uri"])
    said = {(each["from"], each["to"]): each["images"] for each in found["decisions"]}
    assert said == pairs
    assert pairs["reject", "review"] > 0
    assert raised, "the sample has wide images"
    samples = {each["uri"]: each["now"].get("raised", False) for each in found["samples"]}
    assert {uri for uri, is_raised in samples.items() if is_raised} <= raised
    assert any(samples.values())


def test_events_without_the_results_of_both_say_which_are_there(
    tried_out: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    desk = Desk(tmp_path, tried_out[1])
    result = desk.run("diff", str(LABELS_FILE), str(desk.new), "--embeddings", "events")
    assert isinstance(result.exception, Halt)
    assert result.exception.code == "label_set.no_embeddings"
    assert "120 images: 120 with shapes sha256:" in result.exception.message
    assert "and 0 with shapes sha256:" in result.exception.message


def test_the_page_shows_what_the_command_says(desk: Desk) -> None:
    desk.new.write_text(NEW.replace("name: shapes", "name: <b>new"))
    hostile = desk.run("diff", str(LABELS_FILE), str(desk.new), "-o", str(desk.page))
    assert isinstance(hostile.exception, Halt)  # no name of a label set holds markup
    desk.new.write_text(NEW)
    result = desk.run("diff", str(LABELS_FILE), str(desk.new), "-o", str(desk.page))
    assert f"{desk.page} written" in result.output
    page = desk.page.read_text()
    (old,) = load_label_sets([LABELS_FILE])
    assert old.version in page
    assert "reject &rarr; review" in page
    assert "s3://photos/shapes/" in page
    assert "<script" not in page
    assert "://" not in page.replace("s3://", "")


@pytest.fixture
def store(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings of a store with an empty bucket `derived`."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto_s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto_s3.secret_key)
    return {"endpoint": moto_s3.endpoint, "region": moto_s3.region, "allowed_buckets": [DERIVED]}


@pytest.mark.parametrize("kind", ["folder of a job", "files alone", "in a store"])
def test_a_backfills_files_are_compared_without_times(
    tmp_path: Path, store: dict[str, Any], kind: str
) -> None:
    folder = MemoryFolder()
    before, now = label_set("animals", 0.9), label_set("animals", 0.2, "dog", "cat", "owl")
    job = write_job(folder, compiled(before), asked={"animals": 3})
    texts = {"text_cache_dir": str(tmp_path / "texts")}
    settings = Settings.model_validate({"label_sets": texts, "s3": store})
    place = _written(bodies(folder), settings, tmp_path / "out", kind)
    sets = [each.label_set for document in (before, now) for each in compiled(document)]
    selection = Selection("animals")
    found = run_diff(settings, sets[0], sets[1], place, selection, None, lambda settings: ENCODER)
    rows = job.shards * (18 - 3)  # in each shard two of twenty failed, and three did not ask
    assert found.comparison.images == rows
    assert found.images_per_day is None
    assert found.comparison.changed > 0
    assert all(each.image.uri.startswith("s3://") for each in _samples(found))


def _written(files: dict[str, bytes], settings: Settings, out: Path, kind: str) -> str:
    """Where the job's files are."""
    if kind == "in a store":
        with contextlib.closing(S3Admin(settings.s3)) as admin:
            admin.create_bucket(DERIVED)
            for name, body in files.items():
                admin.put(DERIVED, f"out/{name}", body)
        return f"s3://{DERIVED}/out"
    for name, body in files.items():
        if kind == "folder of a job" or name.startswith("data/"):
            path = out / (name if kind == "folder of a job" else Path(name).name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
    return str(out)


def _samples(found: Any) -> list[Any]:
    return [each for samples in found.comparison.samples.values() for each in samples]


def test_a_comparison_says_that_it_sees_no_views(tmp_path: Path) -> None:
    folder, before = MemoryFolder(), label_set("animals", 0.9)
    write_job(folder, compiled(before), shards=1, views="all, at most 9, up to 0.1 unseen")
    texts = {"text_cache_dir": str(tmp_path / "texts")}
    settings = Settings.model_validate({"label_sets": texts})
    place = _written(bodies(folder), settings, tmp_path / "out", "folder of a job")
    (old,) = [each.label_set for each in compiled(before)]
    selection = Selection("animals")
    found = run_diff(settings, old, old, place, selection, None, lambda settings: ENCODER)
    assert found.notes == (
        "images of the job have several views, and only their centres are compared",
    )


def test_a_place_without_embeddings_is_said(tmp_path: Path) -> None:
    desk = Desk(tmp_path, {})
    result = desk.run("diff", str(LABELS_FILE), str(desk.new), "--embeddings", str(tmp_path))
    assert "it has no data file of a backfill" in str(result.exception)


def test_a_preview_shows_each_image_under_its_label(tmp_path: Path) -> None:
    desk = Desk(tmp_path, {})
    images = tmp_path / "images"
    (images / "more").mkdir(parents=True)
    shown = published(IMAGES)[:20]
    for number, each in enumerate(shown):
        file = images / ("more" if number % 2 else "") / f"{number:02}{Path(each.image.key).suffix}"
        file.write_bytes(each.image.body)
    (images / "notes.txt").write_text("no image")
    result = desk.run("preview", str(LABELS_FILE), "--images", str(images), "-o", str(desk.page))
    assert result.exit_code == 0, result.exception
    assert "written: 20 images" in result.output
    assert "not shown: notes.txt: " in result.output
    page = desk.page.read_text()
    sections = re.findall(r"<h2>(.*?) <small>(\d+)</small></h2>", page)
    found = {label: int(count) for label, count in sections}
    assert found == Counter(best_label(each) for each in shown)
    assert page.count("data:image/jpeg;base64,") == 20
    assert "notes.txt" in page
    empty = tmp_path / "empty"
    empty.mkdir()
    result = desk.run("preview", str(LABELS_FILE), "--images", str(empty))
    assert "has no image that can be decoded" in str(result.exception)
