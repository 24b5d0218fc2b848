"""The benchmark's peers: what a turn counts, and environments that cannot be made."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.benchmarks.peer_environments import REQUIREMENTS, UnavailableError, interpreter
from tests.benchmarks.peer_process import BATCH, rate
from tests.rigs.root import ROOT

CONSTRAINTS = ROOT / "constraints.txt"


class SlowStart:
    """Batches of a second each, after a start of a hundred; the last one takes long as well."""

    warm = 2 * BATCH

    def __init__(self, lost: int = 0) -> None:
        self.now = 0.0
        self._lost = lost

    def __call__(self, files: Sequence[bytes]) -> Iterator[int]:
        self.now += 100
        left = len(files) - self._lost
        while left > 0:
            self.now += 1 if left > BATCH else 50
            yield min(BATCH, left)
            left -= BATCH


def test_neither_the_start_of_a_peer_nor_its_end_counts() -> None:
    peer = SlowStart()
    assert rate(peer, itertools.repeat(b""), 3 * BATCH, lambda: peer.now) == BATCH


def test_a_peer_that_loses_images_has_no_rate() -> None:
    peer = SlowStart(lost=1)
    with pytest.raises(RuntimeError, match="223 of 224 images"):
        rate(peer, itertools.repeat(b""), 3 * BATCH, lambda: peer.now)


def test_an_environment_that_cannot_be_made_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-installer-beside-it"))
    told: list[str] = []
    for _ in range(2):
        with pytest.raises(UnavailableError, match="infinity: not installed: "):
            interpreter("infinity", told.append)
    assert len(told) == 2


@pytest.mark.parametrize("file", sorted(REQUIREMENTS.glob("*.txt")), ids=lambda file: file.stem)
def test_peers_have_the_projects_version_of_torch(file: Path) -> None:
    def torch(text: str) -> list[str]:
        return re.findall(r"^torch==\S+", text, re.MULTILINE)

    assert torch(file.read_text()) == torch(CONSTRAINTS.read_text())
