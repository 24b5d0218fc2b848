"""`clipstream model fetch`: a checkpoint is copied from a real S3 server whole, or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.adapters.clip.checkpoint import from_directory
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.policy import S3Policy
from pipeline.errors import Halt
from tests.rigs.root import ROOT
from workers.cli import app
from workers.commands.model.fetch import Origin, fetch_checkpoint
from workers.embedded.s3 import S3Server

pytestmark = pytest.mark.component

MODEL = ROOT / "workers/demo/model"
REVISION = from_directory("model", MODEL).revision
BESIDE = {"README.md": b"text", "pytorch_model.bin": b"pickled", "onnx/model.safetensors": b"x"}

Upload = Callable[[Mapping[str, bytes]], Origin]


@pytest.fixture
def policy(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Policy:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    return S3Policy(endpoint=s3_server.endpoint, region=s3_server.region)


@pytest.fixture
def upload(policy: S3Policy) -> Upload:
    """Puts files below a prefix of a bucket that no message may name."""

    def put(files: Mapping[str, bytes]) -> Origin:
        bucket = f"models-{uuid.uuid4().hex}"
        with closing(S3Admin(policy)) as admin:
            admin.create_bucket(bucket)
            for name, body in files.items():
                admin.put(bucket, f"clip/{name}", body)
        return Origin(policy, bucket, "clip/")

    return put


def checkpoint() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in MODEL.iterdir()}


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_checkpoint_arrives_with_the_revision_that_it_has_elsewhere(
    upload: Upload, tmp_path: Path
) -> None:
    told: list[str] = []
    into = tmp_path / "models" / "shapes"
    fetched = fetch_checkpoint(upload(checkpoint() | BESIDE), into, None, told.append)
    assert (fetched.name, fetched.revision, fetched.directory) == ("shapes", REVISION, into)
    assert from_directory("shapes", into).revision == REVISION
    # What affects no embedding was not even read: pickled weights can be large.
    assert contents(into).keys() == {line.partition(":")[0] for line in told}
    assert not contents(into).keys() & {"README.md", "pytorch_model.bin", "MODEL.md"}


def test_nothing_of_the_earlier_checkpoint_stays(upload: Upload, tmp_path: Path) -> None:
    for name in ("config.json", "vocab.json", "model-00001-of-00002.safetensors"):
        (tmp_path / name).write_bytes(b"old")
    (tmp_path / "notes.txt").write_bytes(b"mine")
    fetch_checkpoint(upload(checkpoint()), tmp_path, None, lambda _: None)
    assert from_directory("shapes", tmp_path).revision == REVISION
    assert (tmp_path / "notes.txt").read_bytes() == b"mine"


def without(name: str) -> dict[str, bytes]:
    return {file: body for file, body in checkpoint().items() if file != name}


@pytest.mark.parametrize(
    ("files", "revision", "code"),
    [
        ({}, None, "model.not_found"),
        (BESIDE, None, "model.not_found"),
        (without("model.safetensors"), None, "model.incomplete"),
        (without("config.json"), None, "model.incomplete"),
        (checkpoint(), f"sha256:{'0' * 64}", "model.another_revision"),
    ],
    ids=["nothing", "no checkpoint", "no weights", "no configuration", "another revision"],
)
def test_a_copy_that_fails_leaves_what_was_there(
    upload: Upload, tmp_path: Path, files: dict[str, bytes], revision: str | None, code: str
) -> None:
    held = Path(shutil.copytree(MODEL, tmp_path / "held"))
    (held / "config.json").write_bytes(b"{}")
    before = contents(held)
    with pytest.raises(Halt) as halt:
        fetch_checkpoint(upload(files), held, revision, lambda _: None)
    assert halt.value.code == code
    assert contents(held) == before


def test_a_directory_that_has_the_revision_is_left_as_it_is(
    policy: S3Policy, tmp_path: Path
) -> None:
    """As after a restart of the pod's init container: the store is not even asked."""
    held = Path(shutil.copytree(MODEL, tmp_path / "held"))
    nowhere = Origin(policy.model_copy(update={"endpoint": "http://127.0.0.1:9"}), "b", "")
    assert fetch_checkpoint(nowhere, held, REVISION, pytest.fail).directory == held


def test_a_directory_that_cannot_be_made_is_said(upload: Upload, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Halt) as halt:
        fetch_checkpoint(upload(checkpoint()), tmp_path / "file", None, lambda _: None)
    assert halt.value.code == "model.unwritable"


def test_the_command_needs_no_more_of_the_settings_than_the_store(
    upload: Upload, policy: S3Policy, tmp_path: Path
) -> None:
    """Kafka's password is not in the environment of what copies a model, and an image's bucket is
    not where models are."""
    origin = upload(checkpoint())
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        yaml.safe_dump(
            {
                "kafka": {"security": {"protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"}},
                "s3": {
                    "allowed_buckets": ["images"],
                    "endpoint": policy.endpoint,
                    "region": policy.region,
                },
            }
        )
    )
    into = tmp_path / "shapes"
    words = ["model", "fetch", f"s3://{origin.bucket}/clip", str(into), "--config", str(settings)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == f"{into}: shapes at {REVISION}"
    assert CliRunner().invoke(app, ["stream", "-c", str(settings)]).exit_code != 0


@pytest.mark.parametrize("source", ["clip", "https://models/clip", "s3://", "s3:///clip"])
def test_what_is_no_prefix_is_a_mistyped_argument(source: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["model", "fetch", source, str(tmp_path)])
    assert done.exit_code == 2
    assert "s3://BUCKET/PREFIX" in done.output
