"""A checkpoint of the hub: from its cache where it is complete, downloaded once where not."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from huggingface_hub import constants

from pipeline.adapters.clip.checkpoint import Checkpoint, from_hub
from pipeline.adapters.clip.encoder import DEFAULT_MODEL, DEFAULT_REVISION, ClipEncoder, ModelPolicy
from pipeline.errors import Halt
from tests.rigs.services.model_hub import ModelHub
from tests.rigs.stages.clip_checkpoints import write_small_checkpoint

NAME = "acme/tiny-clip"
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_checkpoint(tmp_path_factory.mktemp("original"))


def into_cache(source: Path, cache: Path, *, without: str = "") -> Path:
    """The hub's layout: contents under their hash, a snapshot of links to them."""
    repository = cache / f"models--{NAME.replace('/', '--')}"
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for file in source.iterdir():
        if file.name != without:
            blob = repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
            shutil.copy(file, blob)
            (snapshot / file.name).symlink_to(blob)
    return snapshot


def take(cache: Path, revision: str = REVISION, *, offline: bool = False) -> Checkpoint:
    return from_hub(NAME, revision, cache_directory=cache, offline=offline)


def test_the_hubs_cache_is_read_offline(original: Path, tmp_path: Path) -> None:
    snapshot = into_cache(original, tmp_path)
    encoder = ClipEncoder.load(
        ModelPolicy(
            name=NAME, revision=REVISION, cache_directory=tmp_path, offline=True, device="cpu"
        )
    )
    assert (encoder.model.name, encoder.model.revision) == (NAME, REVISION)
    assert take(tmp_path, offline=True) == Checkpoint(NAME, REVISION, snapshot)


def test_offline_without_the_model_in_the_cache_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Halt, match="not in the hub's local cache") as caught:
        take(tmp_path, offline=True)
    assert caught.value.code == "model.not_found"


@pytest.fixture
def hub(original: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    """A hub on the loopback that holds the checkpoint and a pickle."""
    files = {file.name: file.read_bytes() for file in original.iterdir()}
    files["pytorch_model.bin"] = b"would run code"
    with closing(ModelHub(NAME, REVISION, files)) as hub:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield hub


def test_a_model_is_downloaded_once_and_without_its_pickles(
    hub: ModelHub, original: Path, tmp_path: Path
) -> None:
    checkpoint = take(tmp_path)
    assert checkpoint.revision == REVISION
    assert {file.name: file.read_bytes() for file in checkpoint.directory.iterdir()} == {
        file.name: file.read_bytes() for file in original.iterdir()
    }
    assert hub.requests
    assert not any("pytorch_model" in request for request in hub.requests)
    hub.requests.clear()
    assert take(tmp_path) == checkpoint
    assert hub.requests == []


def test_an_interrupted_download_is_taken_up_again(
    hub: ModelHub, original: Path, tmp_path: Path
) -> None:
    into_cache(original, tmp_path, without="model.safetensors")
    with pytest.raises(Halt, match=r"model\.safetensors is missing"):
        take(tmp_path, offline=True)
    assert hub.requests == []
    assert (take(tmp_path).directory / "model.safetensors").is_file()


def test_a_cache_that_cannot_be_written_ends_the_start(hub: ModelHub, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Halt, match="the download failed") as caught:
        take(tmp_path / "file" / "cache")
    assert caught.value.code == "model.unreachable"
    assert "NotADirectoryError" in caught.value.message
    assert hub.requests


def test_a_commit_that_the_hub_has_not_is_named(hub: ModelHub, tmp_path: Path) -> None:
    absent = REVISION[::-1]
    with pytest.raises(Halt, match=f"{absent}: the repository has no such commit"):
        take(tmp_path, absent)
    assert hub.requests


def test_a_refused_download_is_told(hub: ModelHub, tmp_path: Path) -> None:
    hub.token = "needed"
    with pytest.raises(Halt, match="the download failed") as caught:
        take(tmp_path)
    assert caught.value.code == "model.unreachable"
    assert "token" in caught.value.message
    assert hub.requests


def test_the_default_is_a_pinned_commit() -> None:
    policy = ModelPolicy()
    assert (policy.name, policy.revision) == (DEFAULT_MODEL, DEFAULT_REVISION)
