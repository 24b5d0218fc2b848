"""`clipstream explain` derives the demo's scores again, and says what does not match."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from tests.rigs.recorded import MODEL_DIRECTORY, Published, published
from workers import cli
from workers.demo.accuracy import LABELS_FILE

pytestmark = pytest.mark.component

Change = Callable[[Any], object]


class Explaining:
    """Files of one outcome, and the command on them."""

    def __init__(self, folder: Path, outcome: Published) -> None:
        self.event = folder / "event.json"
        self.vector = folder / "embedding.bin"
        self.label_set = folder / "shapes.yaml"
        self.settings = folder / "settings.yaml"
        self.value = json.loads(outcome.classification.value)
        self.event.write_bytes(outcome.classification.value)
        self.vector.write_bytes(outcome.embedding.value)
        self.label_set.write_text(LABELS_FILE.read_text())
        self.settings.write_text(
            yaml.safe_dump(
                {
                    "model": {"directory": str(MODEL_DIRECTORY)},
                    "label_sets": {
                        "paths": [str(self.label_set)],
                        "text_cache_dir": str(folder / "texts"),
                    },
                    "kafka": {"output_topics": {"label_sets": None}},
                }
            )
        )

    def change(self, change: Change) -> None:
        value = json.loads(json.dumps(self.value))
        change(value)
        self.event.write_text(json.dumps(value))

    def run(self, *more: str) -> Result:
        arguments = ["explain", str(self.event), "--embedding", str(self.vector)]
        runner = CliRunner(env={"COLUMNS": "200"})
        return runner.invoke(cli.app, [*arguments, "-c", str(self.settings), *more])


@pytest.fixture
def explaining(tmp_path: Path) -> Explaining:
    return Explaining(tmp_path, published(120)[0])


def test_every_score_is_derived_within_a_millionth(explaining: Explaining) -> None:
    result = explaining.run("--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["differences"] == []
    (derived,), (event,) = told["results"], explaining.value["results"]
    assert derived["version"] == event["version"]
    assert derived["decision"] == event["decision"]
    scale = explaining.value["model"]["logit_scale"]
    logits = np.array([label["logit"] for label in derived["labels"]])
    powers = np.exp(logits - logits.max())
    for label, expected, power in zip(
        derived["labels"], event["scores"], powers / powers.sum(), strict=True
    ):
        assert label["score"] == pytest.approx(expected["score"], abs=1e-6)
        assert label["score"] == pytest.approx(power, abs=1e-12)
        assert label["logit"] == pytest.approx(scale * expected["similarity"], abs=1e-4)
        # The mean of two unit vectors, made a unit vector again.
        mean = np.mean([step["cosine"] for step in label["prompts"]])
        assert mean / label["mean_length"] == pytest.approx(label["similarity"], abs=1e-6)


def test_a_second_look_needs_no_model(explaining: Explaining) -> None:
    assert "prompts: torch-cpu" in explaining.run().output
    again = explaining.run("-s", "model.directory=/nowhere")
    assert "prompts: from the cache" in again.output
    assert again.exit_code == 0


def test_the_table_names_each_step_and_the_rule(explaining: Explaining) -> None:
    output = explaining.run("--prompts").output
    (result,) = explaining.value["results"]
    by_score = sorted(result["scores"], key=lambda each: -each["score"])
    assert f"a picture of a {by_score[0]['label']}" in output
    assert f"{len(by_score) - 8} more labels score less" in output
    assert by_score[-1]["label"] not in output
    assert by_score[-1]["label"] in explaining.run("--all").output
    assert "everything matches the event" in output
    rule = next(line for line in output.splitlines() if line.startswith("decision "))
    assert "calls for" in rule or "no label reaches a threshold" in rule


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: v["results"][0]["scores"][3].update(score=0.5), "the event's score is 0.5"),
        (lambda v: v["results"][0].update(decision="none2"), "the event's decision is 'none2'"),
        (lambda v: v["results"][0].update(matched=["red star"]), "['red star'] match"),
        (lambda v: v["object"].update(etag="e2"), "the event was altered"),
        (lambda v: v["results"][0]["scores"].pop(), "the event lists the labels"),
        (lambda v: v["model"].update(revision="sha256:other"), "at revision sha256:other"),
        (lambda v: v["model"].update(logit_scale=30.0), "(dimension 64, logit scale 30)"),
    ],
    ids=["score", "decision", "matched", "object", "labels", "revision", "logit scale"],
)
def test_what_was_altered_is_said(explaining: Explaining, change: Change, told: str) -> None:
    explaining.change(change)
    result = explaining.run()
    assert result.exit_code == 1, result.output
    assert "does not match: " in result.output
    assert told in result.output


def test_another_images_embedding_does_not_match(explaining: Explaining) -> None:
    explaining.vector.write_bytes(published(120)[1].embedding.value)
    result = explaining.run()
    assert result.exit_code == 1
    assert "does not match" in result.output


def test_another_label_set_is_named(explaining: Explaining) -> None:
    explaining.label_set.write_text(LABELS_FILE.read_text().replace("0.8", "0.81"))
    result = explaining.run()
    version = explaining.value["results"][0]["version"]
    assert result.exit_code == 1
    assert f"label set version {version}: not among the files (shapes sha256:" in result.output


def test_a_line_of_kcat_and_the_consoles_event_are_read_too(explaining: Explaining) -> None:
    outcome = published(120)[0].classification
    headers = [part for name, value in outcome.headers for part in (name, value.decode())]
    line = {"topic": "t", "partition": 0, "offset": 3, "ts": 5, "headers": headers}
    explaining.event.write_text(json.dumps(line | {"payload": outcome.value.decode()}))
    assert explaining.run().exit_code == 0
    by_name = dict(zip(headers[::2], headers[1::2], strict=True))
    explaining.event.write_text(json.dumps({"value": explaining.value, "headers": by_name}))
    assert explaining.run().exit_code == 0
    own_id = by_name["ce_id"]
    explaining.event.write_text(json.dumps({"id": own_id, "data": explaining.value}))
    assert explaining.run().exit_code == 0


def test_what_is_no_event_is_refused(explaining: Explaining) -> None:
    explaining.event.write_text('{"payload": "{}", "headers": ["one"]}')
    assert "its headers are no pairs" in str(explaining.run().exception)
    explaining.event.write_text('{"bucket": "b"}')
    assert "no classification event" in str(explaining.run().exception)
    explaining.event.write_text("{")
    assert "cannot be read as one JSON document" in str(explaining.run().exception)
    explaining.event.write_text(json.dumps(explaining.value))
    explaining.vector.write_bytes(b"1234567")
    assert "no embedding: 7 bytes" in str(explaining.run().exception)
