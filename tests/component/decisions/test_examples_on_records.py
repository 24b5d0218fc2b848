"""The examples of docs/decisions.md about records and events are what the commands say."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from pipeline.adapters.kafka.doctor import sound_topics
from pipeline.adapters.kafka.recorded.label_sets import LabelSetRecords
from pipeline.adapters.label_files import load_sourced
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.policy import S3Policy
from pipeline.errors import Halt
from pipeline.records import OutputTopic
from tests.rigs.recorded import BUCKET, MODEL_DIRECTORY, demo_encoder, publish, published
from tests.rigs.root import ROOT
from tests.rigs.services.kafka_deployment import Deployment
from workers import cli
from workers.demo.accuracy import LABELS_FILE
from workers.demo.shapes import shape_image
from workers.embedded.s3 import S3Server

pytestmark = pytest.mark.component

PAGE = ROOT / "docs/decisions.md"
IMAGES = 120
PREVIEWED = 24
LABELS = ("red star", "orange ring", "blue circle")
"""What the images of the previewed folder show."""
TRIED = (
    LABELS_FILE.read_text()
    .replace("name: shapes", "name: shapes-next\nshadow: true", 1)
    .replace("[a red star], act_threshold: 0.8", "[a red star], act_threshold: 1.0")
    .replace(
        "[an orange ring], act_threshold: 0.5",
        "[an orange ring], act_threshold: 0.5, act_action: review",
    )
)
"""The shadow set whose results are published: what the page's commands write, too."""
FIRST_SEEN_S = 1_767_225_600.0
EXAMPLE = re.compile(
    r"```sh\n(?P<commands>(?:(?!```).)*)```\n\n```text\n(?P<output>.*?)```", re.DOTALL
)
NUMBER = re.compile(r"[-+]?\d[\d,]*\.\d+(?:e[-+]?\d+)?")


class Examples:
    """A folder with the files that the page names, and the topics that its commands read. Events of
    ``live`` hold the results of a shadow set too, and those of ``later`` are of circles alone."""

    def __init__(
        self,
        deployment: Deployment,
        live: Deployment,
        later: Deployment,
        folder: Path,
        store: Mapping[str, object],
    ) -> None:
        topics = deployment.kafka.output_topics
        topic = f"{deployment.kafka.group}.label-sets"
        self.kafka = deployment.kafka.model_copy(
            update={"output_topics": topics.model_copy(update={"label_sets": topic})}
        )
        self._folder = folder
        self._names = {topic: "clipstream.label-sets"} | {
            deployment.topic(role): f"clipstream.{role.value.replace('_', '-')}"
            for role in OutputTopic
        }
        deployment.admin.create_topics({topic: sound_topics(self.kafka)[topic]}, 1, 1)
        (folder / "shapes.yaml").write_text(LABELS_FILE.read_text())
        sourced = load_sourced([folder / "shapes.yaml"])
        records = LabelSetRecords(self.kafka, "0.1.0", lambda: FIRST_SEEN_S)
        records.publish(sourced, demo_encoder().model)
        publish(self.kafka, published(IMAGES))
        (folder / "photos").mkdir()
        random = np.random.default_rng(7)
        for number in range(PREVIEWED):
            shape = shape_image(random, LABELS[number % len(LABELS)], (240, 480))
            shape.save(folder / "photos" / f"{number:02}.jpg")
        (folder / "tried.yaml").write_text(TRIED)
        publish(live.kafka, published(IMAGES, files=(LABELS_FILE, folder / "tried.yaml")))
        circles = [each for each in published(IMAGES) if "circle" in str(each.image.truth)]
        publish(later.kafka, circles)
        self._names |= {
            other.topic(role): f"clipstream.{role.value.replace('_', '-')}"
            for other in (live, later)
            for role in OutputTopic
        }
        of = {"settings": self.kafka, "live": live.kafka, "later": later.kafka}
        for name, kafka in of.items():
            settings = {
                "model": {"directory": str(MODEL_DIRECTORY)},
                "label_sets": {"text_cache_dir": str(folder / "texts"), "paths": ["shapes.yaml"]},
                "s3": dict(store),
                "kafka": {
                    "bootstrap_servers": list(kafka.bootstrap_servers),
                    "output_topics": kafka.output_topics.model_dump(),
                },
            }
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))

    def run(self, commands: str) -> str:
        """What the commands of an example print."""
        # The first topic of a documented name is that of settings.yaml, which has all images.
        for name, documented in self._names.items():
            commands = commands.replace(documented, name)
        printed = ""
        for command in commands.splitlines():
            program, *arguments = shlex.split(command)
            if program != "clipstream":
                subprocess.run(command, shell=True, check=True, cwd=self._folder)
                continue
            runner = CliRunner(env={"COLUMNS": "112"})
            result = runner.invoke(cli.app, arguments)
            assert result.exit_code == 0, result.exception or result.output
            printed += result.stdout
        for name, documented in self._names.items():
            printed = printed.replace(name, documented)
        return "\n".join(line.rstrip() for line in printed.splitlines()).strip()


@pytest.fixture(scope="module")
def examples(
    kafka_bootstrap: str, moto_s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Examples]:
    folder = tmp_path_factory.mktemp("decisions")
    store = {
        "endpoint": moto_s3.endpoint,
        "region": moto_s3.region,
        "allowed_buckets": [BUCKET],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", moto_s3.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", moto_s3.secret_key)
        admin = S3Admin(S3Policy.model_validate(store))
        admin.create_bucket(BUCKET)
        for each in published(IMAGES):
            admin.put(BUCKET, each.image.key, each.image.body)
        admin.close()
        with (
            Deployment(kafka_bootstrap, start=None) as deployment,
            Deployment(kafka_bootstrap, start=None) as live,
            Deployment(kafka_bootstrap, start=None) as later,
        ):
            patch.chdir(folder)
            yield Examples(deployment, live, later, folder, store)


def documented() -> list[tuple[str, str]]:
    """Commands and output of each example."""
    found = EXAMPLE.finditer(PAGE.read_text(encoding="utf-8"))
    mine = [(each["commands"], each["output"].strip()) for each in found]
    recorded = ("explain", "labels show", "labels diff", "labels preview", "drift reference")
    return [each for each in mine if any(f"clipstream {name}" in each[0] for name in recorded)]


@pytest.mark.parametrize(
    ("commands", "output"), documented(), ids=[each[0].split("\n")[-2] for each in documented()]
)
def test_the_example_prints_what_the_page_says(
    examples: Examples, commands: str, output: str
) -> None:
    """Words are equal, and figures but for the last digits, which depend on the processor."""
    printed = examples.run(commands)
    for page in re.findall(r"--report (\S+)", commands):
        assert Path(page).read_text().count("data:image/jpeg;base64,") >= 4
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", output)
    figures = [
        [float(each.replace(",", "")) for each in NUMBER.findall(t)] for t in (printed, output)
    ]
    assert figures[0] == pytest.approx(figures[1], abs=2e-3)


def test_every_command_has_an_example() -> None:
    assert len(documented()) == 6


def test_a_window_without_images_and_a_reference_of_another_version_are_said(
    examples: Examples,
) -> None:
    """``examples`` is the folder in which this runs."""
    assert examples.kafka
    run = CliRunner().invoke
    write = ["drift", "reference", "-c", "later.yaml", "-o", "later.json", "--until"]
    early = run(cli.app, [*write, "2026-01-01T00:00:00Z"])
    assert isinstance(early.exception, Halt)
    assert early.exception.code == "label_set.no_embeddings"
    assert not Path("later.json").exists()
    assert run(cli.app, [*write, "2100-01-01T00:00:00Z"]).exit_code == 0
    compare = ["drift", "compare", "later.json", "-c", "later.yaml"]
    text = Path("shapes.yaml").read_text()
    Path("changed.yaml").write_text(text.replace("act_threshold: 0.8", "act_threshold: 0.9"))
    other = run(cli.app, [*compare, "-s", 'label_sets.paths=["changed.yaml"]'])
    assert isinstance(other.exception, Halt)
    assert other.exception.code == "drift.invalid"
    assert "the reference is of version sha256:" in other.exception.message
