"""A change of a list's files takes effect without a restart, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.memory.meter import MemoryMeter
from pipeline.errors import Halt
from pipeline.known.lists import KnownLists
from pipeline.metrics import (
    IMAGE_METRICS,
    KNOWN_LIST_INFO,
    KNOWN_LIST_RELOADS,
    KNOWN_LISTS_REFUSED,
)
from tests.rigs.root import ROOT
from workers.known import knowing, load_lists
from workers.label_sets import LiveRules
from workers.settings.loading import Settings, load_settings

MODEL = MemoryEncoder().model
LEAKED, OTHER = (hashlib.sha256(text).hexdigest() for text in (b"leaked", b"other"))
HEADER = "name: leaked\nkind: sha256\naction: block\nentries: leaked.txt\n"


class Bench:
    """The files of a list in a folder, as a worker watches them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write(HEADER, LEAKED)
        self.meter = MemoryMeter(IMAGE_METRICS)

    @property
    def settings(self) -> Settings:
        return load_settings(
            flags={
                "s3.allowed_buckets": ["images"],
                "known.lists": [str(self.folder)],
                "known.reload_interval_s": 0,
                "label_sets.paths": [str(ROOT / "deploy/examples/label-sets/moderation.yaml")],
            },
            environment={},
        )

    def write(self, header: str, *entries: str) -> None:
        (self.folder / "leaked.yaml").write_text(header)
        (self.folder / "leaked.txt").write_text("\n".join(entries))

    def count(self, outcome: str) -> float:
        return self.meter.value(KNOWN_LIST_RELOADS, outcome=outcome) or 0.0

    def in_force(self) -> list[dict[str, str]]:
        return [dict(labels) for labels in self.meter.labels(KNOWN_LIST_INFO)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def live(bench: Bench) -> Iterator[LiveRules[KnownLists]]:
    with knowing(bench.settings, MODEL, bench.meter) as known:
        assert isinstance(known.lists, LiveRules)
        assert not known.pdq
        yield known.lists


def test_a_change_takes_effect_at_the_second_look_that_sees_it(
    bench: Bench, live: LiveRules[KnownLists]
) -> None:
    assert live().by_file(OTHER) == ()
    bench.write(HEADER, LEAKED, OTHER)
    live.look()
    assert live().by_file(OTHER) == ()
    live.look()
    (match,) = live().by_file(OTHER)
    assert bench.in_force() == [{"known_list": "leaked", "version": match.version}]
    assert (bench.count("loaded"), bench.count("refused")) == (1, 0)


def test_a_bad_version_is_refused_and_the_one_before_stays(
    bench: Bench, live: LiveRules[KnownLists]
) -> None:
    before = bench.in_force()
    bench.write(HEADER, "no hash")
    live.look()
    live.look()
    assert len(live().by_file(LEAKED)) == 1
    assert bench.in_force() == before
    assert bench.meter.value(KNOWN_LISTS_REFUSED) == 1
    assert bench.count("refused") == 1
    bench.write(HEADER, OTHER)
    live.look()
    live.look()
    assert bench.meter.value(KNOWN_LISTS_REFUSED) == 0
    assert live().by_file(LEAKED) == ()


def test_an_action_that_no_label_set_has_is_refused(bench: Bench) -> None:
    bench.write(HEADER.replace("block", "blok"), LEAKED)
    with pytest.raises(Halt, match="known list leaked: action: 'blok' is no action") as halt:
        load_lists(bench.settings)
    assert halt.value.code == "known.invalid"


def test_without_lists_nothing_is_watched(bench: Bench) -> None:
    settings = bench.settings.model_copy(update={"known": type(bench.settings.known)()})
    with knowing(settings, MODEL, bench.meter) as known:
        assert known.lists() is None
    assert bench.in_force() == []


def test_a_first_list_of_pdq_waits_for_decoders_that_compute_the_hashes(
    bench: Bench, live: LiveRules[KnownLists]
) -> None:
    bench.write(HEADER.replace("sha256", "pdq"), LEAKED)
    live.look()
    live.look()
    assert bench.meter.value(KNOWN_LISTS_REFUSED) == 1
    with knowing(bench.settings, MODEL, bench.meter) as known:
        assert known.pdq
