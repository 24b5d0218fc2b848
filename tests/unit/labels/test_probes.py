"""The label sets that measure prejudice: they decide nothing, and nobody loads them by accident."""

from __future__ import annotations

from pipeline.adapters.label_files import load_label_sets
from tests.rigs.root import ROOT

FOLDER = ROOT / "deploy/examples/label-sets"
PROBES = FOLDER / "probes"


def test_a_probe_matches_nothing_and_counts_in_nothing() -> None:
    for probe in load_label_sets([PROBES]):
        assert probe.shadow
        assert all(label.act is label.review is None for label in probe.labels)


def test_the_folder_of_examples_loads_no_probe() -> None:
    assert {each.name for each in load_label_sets([FOLDER])} == {"moderation", "general-objects"}


def test_the_probes_differ_in_the_label_child_alone() -> None:
    (people,) = load_label_sets([PROBES / "people.yaml"])
    (with_child,) = load_label_sets([PROBES / "people-and-child.yaml"])
    *others, child = with_child.labels
    assert child.name == "child"
    assert tuple(others) == people.labels
    assert len(people.labels) == 14 + 4 + 3
