"""A change of label set files takes effect without a restart, or not at all."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pipeline.adapters.label_files import fingerprint
from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.errors import Halt
from pipeline.metrics import (
    IMAGE_METRICS,
    LABEL_SET_INFO,
    LABEL_SET_RELOADS,
    LABEL_SETS_REFUSED,
)
from pipeline.records import ImageRef, Partition, Position, Record
from pipeline.references import ReferencesPolicy, parse
from tests.rigs.stages.looked import scored
from tests.rigs.waiting import eventually
from workers.label_sets import LiveRules, Rules, ScoringRules, load_rules, load_scoring
from workers.settings.loading import Settings, load_settings

ONE = """\
name: animals
decision: exclusive
actions: [review, allow]
default_action: allow
labels:
  - {name: cat, prompts: [a cat]}
  - {name: dog, prompts: [a dog]}
"""
TWO = ONE.replace("a dog", "a brown dog")
INVALID = ONE.replace("prompts: [a dog]", "prompts: []")


class Bench:
    """Label set files in a folder, as a worker watches them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("animals", ONE)
        self.settings: Settings = load_settings(
            flags={
                "s3.allowed_buckets": ["images"],
                "label_sets.paths": [str(folder)],
                "label_sets.text_cache_dir": "null",
            },
            environment={},
        )
        self.encoder = MemoryEncoder()
        self.meter = MemoryMeter(IMAGE_METRICS)
        self.rules = LiveRules(self.load, partial(fingerprint, (folder,)), self.meter)

    def load(self) -> Rules:
        return load_rules(self.settings, self.encoder.model, self.encoder.encode_texts)

    def write(self, name: str, text: str) -> None:
        (self.folder / f"{name}.yaml").write_text(text)

    def count(self, outcome: str) -> float:
        return self.meter.value(LABEL_SET_RELOADS, outcome=outcome) or 0.0

    def in_force(self) -> dict[str, str]:
        """What the metrics say, which must be what the rules say."""
        exposed = self.meter.labels(LABEL_SET_INFO)
        told = {labels["label_set"]: labels["version"] for labels in exposed}
        assert told == self.rules().versions
        return told


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.rules.close()


def scored_as(rules: Rules) -> dict[str, str]:
    record = Record(Position(Partition("refs", 0), 1), 0, None, b'{"bucket": "images", "key": "a"}')
    (entry,) = parse(record, ReferencesPolicy(), rules.router)
    assert isinstance(entry.content, ImageRef)
    (embedding,) = MemoryEncoder().encode_texts(["a cat"])
    results = scored(rules.scoring, entry.content.label_sets, embedding)
    return {result.label_set: result.version for result in results}


def test_a_change_takes_effect_at_the_second_look_that_sees_it(bench: Bench) -> None:
    before = bench.rules()
    bench.write("animals", TWO)
    bench.rules.look()
    assert bench.rules() is before
    bench.rules.look()
    assert scored_as(bench.rules()) == bench.in_force() != before.versions
    assert bench.count("loaded") == 1


def test_label_sets_without_routes_are_kept_up_to_date_as_well(bench: Bench) -> None:
    def load() -> ScoringRules:
        encoder = bench.encoder
        return load_scoring(bench.settings.label_sets, encoder.model, encoder.encode_texts)

    live = LiveRules(load, partial(fingerprint, (bench.folder,)), bench.meter)
    before = live()
    bench.write("animals", TWO)
    live.look()
    live.look()
    (embedding,) = bench.encoder.encode_texts(["a cat"])
    (result,) = scored(live().scoring, ("animals",), embedding)
    assert {"animals": result.version} == live().versions != before.versions


def test_a_file_that_is_still_being_written_is_not_loaded(bench: Bench) -> None:
    before = bench.rules()
    for end in (40, 60, 80):
        bench.write("animals", TWO[:end])
        bench.rules.look()
    assert bench.rules() is before
    assert bench.count("refused") == 0


def test_label_sets_come_and_go(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "clipstream.audit")
    bench.write("plants", ONE.replace("animals", "plants"))
    (bench.folder / "animals.yaml").unlink()
    bench.rules.look()
    bench.rules.look()
    assert list(scored_as(bench.rules())) == list(bench.in_force()) == ["plants"]
    version = bench.rules().versions["plants"]
    assert caplog.messages == [
        f"loaded by label_sets.paths: label set plants, version {version}",
        "unloaded by label_sets.paths: label set animals",
    ]


def test_an_invalid_change_leaves_what_was_in_force(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    before = bench.rules()
    bench.write("animals", INVALID)
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            bench.rules.look()
    assert bench.rules() is before
    assert bench.in_force() == before.versions
    # Told once, not at every look.
    (told,) = caplog.records
    assert "animals.yaml:7" in told.getMessage()
    assert bench.count("refused") == 1
    assert bench.meter.value(LABEL_SETS_REFUSED) == 1
    bench.write("animals", TWO)
    bench.rules.look()
    bench.rules.look()
    assert bench.rules() is not before
    assert bench.meter.value(LABEL_SETS_REFUSED) == 0


def test_label_sets_that_are_as_they_were_before_the_refusal_are_refused_no_longer(
    bench: Bench,
) -> None:
    for text, refused in ((INVALID, 1), (ONE, 0)):
        bench.write("animals", text)
        bench.rules.look()
        bench.rules.look()
        assert bench.meter.value(LABEL_SETS_REFUSED) == refused


@pytest.mark.parametrize("prompt", ["a cat", "A Cat"])
def test_labels_that_the_model_cannot_tell_apart_leave_what_was_in_force(
    bench: Bench, caplog: pytest.LogCaptureFixture, prompt: str
) -> None:
    encode = bench.encoder.encode_texts  # tells cases apart, as CLIP does not

    def load() -> Rules:
        return load_rules(
            bench.settings,
            bench.encoder.model,
            lambda prompts: encode([each.lower() for each in prompts]),
        )

    rules = LiveRules(load, partial(fingerprint, (bench.folder,)), bench.meter)
    before = rules()
    bench.write("animals", ONE.replace("a dog", prompt))
    with caplog.at_level(logging.ERROR):
        rules.look()
        rules.look()
    assert rules() is before
    assert "cannot tell" in caplog.records[-1].getMessage()
    assert bench.count("refused") == 1


def test_a_comment_reloads_and_changes_no_version(bench: Bench) -> None:
    before = bench.in_force()
    bench.write("animals", "# checked\n" + ONE)
    bench.rules.look()
    bench.rules.look()
    assert bench.count("loaded") == 1
    assert bench.in_force() == before


def test_label_sets_that_cannot_be_loaded_stop_the_start(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write("animals", INVALID)
    with pytest.raises(Halt, match=r"animals\.yaml:7"):
        LiveRules(bench.load, partial(fingerprint, (tmp_path,)), MemoryMeter(IMAGE_METRICS))


def test_the_watch_outlives_a_defect(bench: Bench) -> None:
    loads = threading.Event()
    calls: list[str] = []

    def load() -> Rules:
        calls.append("load")
        if len(calls) == 2:
            raise ZeroDivisionError("oops")
        if len(calls) == 3:
            loads.set()
        return bench.load()

    bench.rules = LiveRules(load, partial(fingerprint, (bench.folder,)), bench.meter)
    bench.rules.watch(0.01)
    bench.write("animals", TWO)
    eventually(lambda: len(calls) == 2)
    bench.write("animals", TWO + "unclassified_action: allow\n")
    assert loads.wait(20.0)


def test_it_is_known_when_a_label_set_has_changed(bench: Bench) -> None:
    bench.write("plants", ONE.replace("animals", "plants"))
    live = LiveRules(bench.load, partial(fingerprint, (bench.folder,)), bench.meter, lambda: 5.0)
    assert live.changed_at == {}
    bench.write("animals", TWO)
    live.look()
    live.look()
    assert live.changed_at == {"animals": 5.0}
