"""Classes ranked by their prompts, and what a data set and its templates may be called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from pipeline.errors import Halt
from pipeline.evaluation.benchmarks import BENCHMARKS
from pipeline.evaluation.share import Share
from pipeline.evaluation.templates import TEMPLATES
from pipeline.evaluation.zero_shot import accuracy, class_vector, numbered, rank
from tests.rigs.root import ROOT
from workers.commands.evaluation.evaluating import names_of, templates_of

PAGE = (ROOT / "docs/decisions.md").read_text(encoding="utf-8")


def test_accuracies_are_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    classes = rng.normal(size=(12, 16))
    truth = rng.integers(12, size=3_000)
    embeddings = (classes[truth] + rng.normal(scale=3, size=(3_000, 16))).astype(np.float32)
    found = accuracy(rank(embeddings, classes, truth), truth, 12)
    similarities = embeddings.astype(np.float64) @ classes.T
    labels = range(12)
    assert found.top_1.value == pytest.approx(np.mean(similarities.argmax(axis=1) == truth))
    assert found.top_5 is not None
    assert found.top_5.value == pytest.approx(
        top_k_accuracy_score(truth, similarities, k=5, labels=labels)
    )
    assert found.mean_per_class == pytest.approx(
        balanced_accuracy_score(truth, similarities.argmax(axis=1))
    )


def test_the_first_of_equal_classes_ranks_higher() -> None:
    classes = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    embeddings = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    ranked = rank(embeddings, classes, np.array([0, 1]))
    assert ranked.best.tolist() == [0, 0]
    assert ranked.place.tolist() == [0, 1]


def test_few_classes_have_no_top_5_and_empty_ones_do_not_count() -> None:
    truth = np.array([0, 0, 1])
    ranked = rank(np.eye(3, dtype=np.float32)[[0, 1, 1]], np.eye(3), truth)
    found = accuracy(ranked, truth, 3)
    assert found.top_5 is None
    assert found.by_class == (Share(1, 2), Share(1, 1), Share(0, 0))
    assert found.mean_per_class == 0.75


def test_a_class_is_the_mean_of_its_prompts_directions() -> None:
    vector = class_vector(np.array([[2.0, 0.0], [0.0, 0.5]], np.float32))
    assert vector == pytest.approx([0.5**0.5, 0.5**0.5])


def test_classes_are_in_the_order_of_their_numbers_if_they_have_any() -> None:
    assert numbered(["10", "9", "0"]) == ["0", "9", "10"]
    assert numbered(["n02", "n01", "9"]) == ["9", "n01", "n02"]


def test_named_templates_have_one_place_each_and_stand_on_the_page() -> None:
    assert len(set(TEMPLATES["openai-imagenet-80"].texts)) == 80
    assert {*TEMPLATES["openai-imagenet-7"].texts} < {*TEMPLATES["openai-imagenet-80"].texts}
    for name, templates in TEMPLATES.items():
        assert all(text.count("{}") == 1 for text in templates.texts)
        assert f"| `{name}` |" in PAGE


def test_published_figures_stand_on_the_page() -> None:
    for name, benchmark in BENCHMARKS.items():
        assert f"`{name}`" in PAGE
        assert f"{benchmark.figures[0].top_1} %" in PAGE


def test_templates_and_names_come_from_files(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    file.write_text("a {}\n\nthe {}\n")
    assert templates_of(str(file)).texts == ("a {}", "the {}")
    assert names_of(["a_b", "c"], None) == ["a b", "c"]
    file.write_text("tench\ngoldfish\n")
    assert names_of(["n1", "n2"], file) == ["tench", "goldfish"]
    file.write_text("n2\tgoldfish\nn1\ttench\n")
    assert names_of(["n1", "n2"], file) == ["tench", "goldfish"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("one\n", "1 names for 2 classes"),
        ("n1\tone\n", "has no name for n2"),
    ],
)
def test_names_that_do_not_fit_are_refused(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "names.txt"
    file.write_text(text)
    with pytest.raises(Halt, match=says):
        names_of(["n1", "n2"], file)


@pytest.mark.parametrize(("text", "says"), [("a {} {}\n", "needs {} once"), ("", "no template")])
def test_templates_that_cannot_be_filled_are_refused(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "templates.txt"
    file.write_text(text)
    with pytest.raises(Halt, match=says):
        templates_of(str(file))
    with pytest.raises(Halt, match="openai-imagenet-80"):
        templates_of("openai-80")
