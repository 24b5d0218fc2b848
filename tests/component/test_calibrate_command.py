"""`clipstream calibrate`: from a folder of images to a directory that a worker runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from rich.console import Console

from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
from pipeline.errors import Halt
from tests.rigs.root import ROOT
from tests.rigs.stages.clip_checkpoints import write_small_checkpoint
from tests.rigs.stages.decoding import as_file, clouds
from workers.commands.calibrate import run_calibrate
from workers.settings.loading import Settings, load_settings

IMAGES = 60
EDGE = 48
LABEL_SET = ROOT / "deploy/examples/label-sets/moderation.yaml"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def settings(checkpoint: Path, tmp_path: Path) -> Settings:
    file = tmp_path / "settings.yaml"
    given = {
        "s3": {"allowed_buckets": ["photos"]},
        "label_sets": {"paths": [str(LABEL_SET)]},
        "model": {"directory": str(checkpoint), "device": "cpu", "threads": 1},
        "decode": {"processes": 1},
    }
    file.write_text(yaml.safe_dump(given))
    return load_settings(file, environment={})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images in folders of folders, one of them twice, and what is none."""
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for number in range(IMAGES):
        place = folder / "deep" if number % 2 else folder
        (place / f"{number}.jpg").write_bytes(as_file(clouds(number, EDGE, EDGE), "JPEG"))
    (folder / "again.jpg").write_bytes((folder / "0.jpg").read_bytes())
    (folder / "notes.txt").write_text("not an image")
    return folder


def run(settings: Settings, sources: list[Path], output: Path, limit: int = 1_000) -> str:
    console = Console(record=True, width=200)
    run_calibrate(settings, console, sources=sources, output=output, limit=limit)
    return console.export_text()


def test_a_folder_of_images_becomes_a_model_in_int8(
    settings: Settings, folder: Path, tmp_path: Path, checkpoint: Path
) -> None:
    output = tmp_path / "int8"
    said = run(settings, [folder], output)
    assert "1 files passed over: decode.unsupported_format" in said
    assert "calibrating on 48 images, 12 held out" in said  # the one that is there twice, once
    assert f"-s model.precision=int8 -s model.calibration={output}" in said
    policy = ModelPolicy(directory=checkpoint, precision="int8", calibration=output, threads=1)
    assert ClipEncoder.load(policy).model.precision == "int8"


def test_no_more_images_are_used_than_asked_for(
    settings: Settings, folder: Path, tmp_path: Path
) -> None:
    assert "calibrating on 40 images, 10 held out" in run(settings, [folder], tmp_path / "out", 50)


def test_too_few_images_are_refused(settings: Settings, folder: Path, tmp_path: Path) -> None:
    sources = [folder / "deep", folder / "0.jpg", folder / "again.jpg"]
    with pytest.raises(Halt) as caught:
        run(settings, sources, tmp_path / "out")
    assert caught.value.code == "calibrate.too_few"
    assert "31 different images" in caught.value.message
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_left_alone(settings: Settings, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Halt) as caught:
        run(settings, [folder], tmp_path)
    assert caught.value.code == "calibrate.failed"


def test_a_source_that_cannot_be_read_is_named(
    settings: Settings, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Halt, match="none does not exist"):
        run(settings, [tmp_path / "none"], tmp_path / "out")

    read = Path.read_bytes

    def denied(path: Path) -> bytes:  # root may read everything
        if path.suffix == ".jpg":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(Halt, match=r"\.jpg cannot be read \(Permission denied\)"):
        run(settings, [folder / "0.jpg"], tmp_path / "out")
