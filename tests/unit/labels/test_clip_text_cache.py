"""The disk cache of text embeddings: saves work, is never fatal, never wrong."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.adapters.clip import text_cache
from pipeline.adapters.clip.text_cache import CachedTexts
from pipeline.records import ModelIdentity, Vector

MODEL = ModelIdentity("clip", "abc", 4, 100.0, "fp32", "torch-cpu")


class Texts:
    """Embeds a prompt by its hash; remembers what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, prompts: Sequence[str]) -> Vector:
        self.asked += prompts
        rows = [
            np.frombuffer(hashlib.sha256(prompt.encode()).digest()[:4], np.uint8)
            for prompt in prompts
        ]
        vectors = np.stack(rows).astype(np.float32) + 1
        unit: Vector = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


@pytest.fixture
def texts() -> Texts:
    return Texts()


def entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


def test_a_prompt_is_embedded_once_over_restarts(tmp_path: Path, texts: Texts) -> None:
    first = CachedTexts(texts, MODEL, tmp_path)(["a", "b"])
    second = CachedTexts(texts, MODEL, tmp_path)(["b", "c", "a", "c"])

    assert texts.asked == ["a", "b", "c"]
    np.testing.assert_array_equal(second, Texts()(["b", "c", "a", "c"]), strict=True)
    np.testing.assert_array_equal(first, second[[2, 0]], strict=True)
    assert len(entries(tmp_path)) == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(MODEL, name="other"),
        replace(MODEL, revision="def"),
        replace(MODEL, precision="bf16"),
        replace(MODEL, engine="torch-cuda"),
    ],
)
def test_models_share_nothing(tmp_path: Path, texts: Texts, other: ModelIdentity) -> None:
    CachedTexts(texts, MODEL, tmp_path)(["a"])
    CachedTexts(texts, other, tmp_path)(["a"])

    assert texts.asked == ["a", "a"]
    assert len(entries(tmp_path)) == 2


def test_damage_anywhere_is_noticed_and_mended(
    tmp_path: Path, texts: Texts, caplog: pytest.LogCaptureFixture
) -> None:
    CachedTexts(texts, MODEL, tmp_path)(["a", "b"])
    (file,) = entries(tmp_path)
    sound = file.read_bytes()
    damaged = [b"", sound[:10], sound[:-1], b"not a cache"]
    damaged += [
        sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :] for at in range(0, len(sound), 29)
    ]

    for content in damaged:
        file.write_bytes(content)
        texts.asked.clear()
        caplog.clear()

        vectors = CachedTexts(texts, MODEL, tmp_path)(["a", "b"])

        assert texts.asked == ["a", "b"]
        assert "is damaged" in caplog.text
        np.testing.assert_array_equal(vectors, Texts()(["a", "b"]))
        assert file.read_bytes()[:32] == hashlib.sha256(file.read_bytes()[32:]).digest()


def test_a_folder_that_cannot_be_used_is_not_fatal(
    tmp_path: Path, texts: Texts, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file stands where the folder should")

    with caplog.at_level(logging.WARNING):
        vectors = CachedTexts(texts, MODEL, blocked / "cache")(["a"])

    np.testing.assert_array_equal(vectors, Texts()(["a"]))
    assert "cannot be written" in caplog.text


def test_a_disk_that_fills_up_leaves_no_half_file(
    tmp_path: Path, texts: Texts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    CachedTexts(texts, MODEL, tmp_path)(["a"])
    (file,) = entries(tmp_path)
    before = file.read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    vectors = CachedTexts(texts, MODEL, tmp_path)(["a", "b"])

    np.testing.assert_array_equal(vectors, Texts()(["a", "b"]))
    assert "No space left on device" in caplog.text
    assert entries(tmp_path) == [file]
    assert file.read_bytes() == before


def test_a_user_without_a_home_has_no_cache_and_starts(
    texts: Texts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    CachedTexts(texts, MODEL, Path("~/cache"))(["a"])

    assert texts.asked == ["a"]
    assert "Could not determine home directory" in caplog.text


def test_embeddings_that_are_not_finite_are_returned_and_not_kept(tmp_path: Path) -> None:
    def broken(prompts: Sequence[str]) -> Vector:
        return np.full((len(prompts), 4), math.nan, dtype=np.float32)

    vectors = CachedTexts(broken, MODEL, tmp_path)(["a"])

    assert np.isnan(vectors).all()
    assert entries(tmp_path) == []


def test_a_full_cache_drops_the_prompts_that_are_no_longer_asked_for(
    tmp_path: Path, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_cache, "MAX_PROMPTS", 3)
    CachedTexts(texts, MODEL, tmp_path)(["a", "b", "c"])
    CachedTexts(texts, MODEL, tmp_path)(["c", "d"])
    texts.asked.clear()

    CachedTexts(texts, MODEL, tmp_path)(["c", "d", "a"])

    assert texts.asked == ["a"]
