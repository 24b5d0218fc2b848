"""int8 is calibrated on images like those that are classified, and refused where it strays."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from pipeline.adapters.clip.checkpoint import from_directory
from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy
from pipeline.adapters.clip.vision.int8 import (
    FACTS,
    HELD_OUT,
    WEIGHTS,
    Calibration,
    centred_cosines,
)
from pipeline.errors import Halt
from tests.rigs.root import ROOT
from tests.rigs.serve.parity import FAITHFUL as FAITHFUL_OVER_HTTP
from tests.rigs.serve.parity import by_the_stream, embedded, embeddings, over_http, settings_of
from tests.rigs.stages.clip_checkpoints import write_small_checkpoint
from tests.rigs.stages.decoding import photos
from tests.rigs.stages.int8 import CALIBRATED_ON, calibrated, noise, pictures
from workers.serve.label_sets import own_label_set

BATCH = 32
FAITHFUL = 0.95
PHOTOS = 100
UNSEEN = 500_000
"""Seeds from here on are in no calibration."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def sound(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("calibrations") / "sound"
    return calibrated(checkpoint, directory, pictures(CALIBRATED_ON))


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "copy"))


def load(checkpoint: Path, calibration: Path | None, **changed: object) -> ClipEncoder:
    policy = {"directory": checkpoint, "device": "cpu", "threads": 1, "precision": "int8"}
    return ClipEncoder.load(ModelPolicy(**policy | {"calibration": calibration} | changed))


def refusal(checkpoint: Path, calibration: Path, **changed: object) -> Halt:
    with pytest.raises(Halt) as caught:
        load(checkpoint, calibration, **changed)
    return caught.value


def test_images_of_the_calibrations_kind_keep_their_embeddings(
    checkpoint: Path, sound: Path
) -> None:
    images = pictures(BATCH, first=UNSEEN)
    own = load(checkpoint, sound).encode_images(images)
    exact = load(checkpoint, None, precision="fp32").encode_images(images)
    assert centred_cosines(own, exact).min() >= FAITHFUL
    assert not np.array_equal(own, exact)


def test_lanes_give_the_same_embeddings(checkpoint: Path, sound: Path) -> None:
    encoder = load(checkpoint, sound, threads=3)
    assert encoder.lanes == encoder.parallel == 3
    parts = [pictures(5, first=UNSEEN + 5 * number) for number in range(12)]
    alone = load(checkpoint, sound)
    expected = [alone.encode_images(part) for part in parts]
    with ThreadPoolExecutor(6) as callers:
        for vectors, own in zip(callers.map(encoder.encode_images, parts), expected, strict=True):
            np.testing.assert_array_equal(vectors, own)


def test_events_tell_one_calibration_from_another(
    checkpoint: Path, sound: Path, tmp_path: Path
) -> None:
    other = calibrated(checkpoint, tmp_path / "other", pictures(CALIBRATED_ON, first=1_000))
    models = [load(checkpoint, each).model for each in (sound, other, sound)]
    assert {model.precision for model in models} == {"int8"}
    assert models[0].engine.startswith("openvino-cpu:")
    assert models[0] == models[2] != models[1]


DROPPED_BY_ANOTHER_THREAD = """
import gc, os, signal, sys, threading
from pathlib import Path
from pipeline.adapters.clip.encoder import ClipEncoder, ModelPolicy

policy = {"directory": sys.argv[1], "device": "cpu", "threads": 1, "precision": "int8"}
loaded = [ClipEncoder.load(ModelPolicy(**policy, calibration=sys.argv[2]))]

def drop() -> None:
    loaded.clear()
    gc.collect()

dropper = threading.Thread(target=drop)
dropper.start()
dropper.join()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_model_that_another_thread_drops_leaves_signals_to_their_handlers(
    checkpoint: Path, sound: Path
) -> None:
    command = [sys.executable, "-c", DROPPED_BY_ANOTHER_THREAD, str(checkpoint), str(sound)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout) == (0, "handled\n"), ended.stderr


INTERRUPTED = """
import time
from pipeline.adapters.clip.vision.int8 import apart

def work() -> None:
    print("ready", flush=True)
    time.sleep(600)

apart(work)
"""


def test_a_calibration_can_be_interrupted() -> None:
    command = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"ready\n"
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=60)
    assert b"KeyboardInterrupt" in errors
    assert run.returncode != 0


def test_a_calibration_on_noise_is_refused_at_load(checkpoint: Path, tmp_path: Path) -> None:
    calibration = calibrated(checkpoint, tmp_path / "noise", noise(CALIBRATED_ON), min_fidelity=0.1)
    halt = refusal(checkpoint, calibration)
    assert halt.code == "model.unfaithful"
    assert "0.95" in halt.message
    assert "calibrate" in halt.message
    # It is the bound that refuses it, and a bound that says otherwise takes it.
    assert load(checkpoint, calibration, min_fidelity=0.1).model.precision == "int8"


def test_nothing_is_left_of_a_calibration_that_is_not_faithful(
    checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(Halt) as caught:
        calibrated(checkpoint, tmp_path / "noise", noise(CALIBRATED_ON))
    assert caught.value.code == "model.unfaithful"
    assert not (tmp_path / "noise").exists()


def test_another_models_calibration_is_refused(
    checkpoint: Path, sound: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(checkpoint, tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"comment": "fine-tuned"}))
    halt = refusal(other, sound)
    assert halt.code == "model.calibration"
    assert "calibrate" in halt.message


@pytest.mark.parametrize("name", [FACTS, HELD_OUT, WEIGHTS])
def test_a_calibration_that_lacks_a_file_is_refused(
    name: str, checkpoint: Path, copy: Path
) -> None:
    (copy / name).unlink()
    halt = refusal(checkpoint, copy)
    assert halt.code == "model.calibration"
    assert name in halt.message


@pytest.mark.parametrize("images", [None, 0])
def test_held_out_images_of_which_nothing_is_left_are_refused(
    images: int | None, checkpoint: Path, copy: Path
) -> None:
    file = copy / HELD_OUT
    kept = np.load(file)[:images]
    file.write_bytes(b"")
    if images is not None:
        np.save(file, kept)
    assert refusal(checkpoint, copy).code == "model.calibration"


def test_damaged_weights_are_refused(checkpoint: Path, copy: Path) -> None:
    """Ones that can be read: the images held out tell."""
    weights = bytearray((copy / WEIGHTS).read_bytes())
    middle = len(weights) // 2
    weights[middle : middle + 2_000] = bytes(2_000)
    (copy / WEIGHTS).write_bytes(weights)
    assert refusal(checkpoint, copy).code == "model.unfaithful"


def test_cut_weights_are_refused(checkpoint: Path, copy: Path) -> None:
    (copy / WEIGHTS).write_bytes((copy / WEIGHTS).read_bytes()[:1_000])
    assert refusal(checkpoint, copy).code == "model.device"


def test_without_openvino_the_message_says_what_to_install(
    checkpoint: Path, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    halt = refusal(checkpoint, sound)
    assert halt.code == "model.int8_unavailable"
    assert "clipstream[int8]" in halt.message


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"calibration": None}, "clipstream calibrate"), ({"device": "cuda"}, "`device` to cpu")],
)
def test_settings_that_cannot_be_are_refused(
    changed: dict[str, object], said: str, tmp_path: Path
) -> None:
    given = {"directory": tmp_path, "precision": "int8", "calibration": tmp_path}
    with pytest.raises(ValidationError, match=said):
        ModelPolicy.model_validate(given | changed)


def test_batches_of_every_size_are_alike(checkpoint: Path, sound: Path) -> None:
    """Each size has a graph of its own."""
    encoder = load(checkpoint, sound)
    images = pictures(BATCH + 3, first=UNSEEN)
    together = encoder.encode_images(images)
    alone = np.concatenate([encoder.encode_images(image[None]) for image in images])
    assert centred_cosines(alone, together).min() >= 0.999


def test_the_images_held_out_are_kept_as_they_were(checkpoint: Path, sound: Path) -> None:
    read = Calibration.read(sound, from_directory("small", checkpoint), pictures(1).shape[1])
    np.testing.assert_array_equal(read.held_out[:3], pictures(3, first=10_000))


def test_the_stream_and_a_request_see_the_same_in_photographs(
    checkpoint: Path, sound: Path, tmp_path: Path
) -> None:
    label_set = tmp_path / "own.yaml"
    document = own_label_set(["cat", "dog"], {"templates": ["a {}"]})
    label_set.write_text(yaml.safe_dump(document))
    settings, encoder, bodies = settings_of(label_set), load(checkpoint, sound), photos()[:PHOTOS]
    published = by_the_stream(encoder, settings, bodies, at_once=True)
    answered = over_http(encoder, settings, bodies, at_once=True)
    assert {each.facts["precision"] for each in answered} == {"int8"}
    for each in (embeddings(answered), embedded(answered)):
        assert centred_cosines(each, embeddings(published)).min() >= FAITHFUL_OVER_HTTP
