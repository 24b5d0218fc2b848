"""What a label set decides, and what its version covers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.labels.label_set import Decision, Label, LabelSet, ModelPin, ReviewIf, Threshold

ACTIONS = ("block", "review", "allow")
GORE = Label(
    "gore",
    ("a wound",),
    ("a meadow",),
    act=Threshold(0.9, "block"),
    review=Threshold(0.6, "review"),
)
WEAPON = Label("weapon", ("a gun",), ("a toy",), review=Threshold(0.7, "review"))
INFORMATIVE = Label("meme", ("a meme",), ("a photo",))
MODERATION = LabelSet(
    name="moderation",
    decision=Decision.INDEPENDENT,
    actions=ACTIONS,
    default_action="allow",
    unclassified_action="review",
    labels=(GORE, WEAPON, INFORMATIVE),
)


@pytest.mark.parametrize(
    ("scores", "matched", "decision"),
    [
        ((0.1, 0.1, 0.1), (), "allow"),
        ((0.6, 0.1, 0.1), ("gore",), "review"),
        ((0.9, 0.1, 0.1), ("gore",), "block"),
        ((0.89, 0.7, 0.1), ("gore", "weapon"), "review"),
        ((0.95, 0.99, 0.1), ("gore", "weapon"), "block"),
        ((0.0, 0.0, 1.0), (), "allow"),
    ],
    ids=["nothing", "at review", "at act", "two at review", "most severe", "no threshold"],
)
def test_a_label_matches_at_its_threshold_and_the_most_severe_action_decides(
    scores: tuple[float, ...], matched: tuple[str, ...], decision: str
) -> None:
    assert MODERATION.decide(scores) == (matched, decision)


def test_an_act_threshold_alone_leaves_nothing_to_review() -> None:
    label = Label("dog", ("a dog",), act=Threshold(0.5, "tag"))

    assert label.action(0.499) is None
    assert label.action(0.5) == "tag"


def test_scores_that_are_not_one_for_each_label_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        MODERATION.decide((0.1, 0.2))


def test_severity_counts_from_the_least_severe_action() -> None:
    assert [MODERATION.severity(action) for action in ACTIONS] == [2, 1, 0]


@pytest.mark.parametrize(
    "changed",
    [
        replace(MODERATION, name="other"),
        replace(MODERATION, decision=Decision.EXCLUSIVE),
        replace(MODERATION, actions=("review", "block", "allow")),
        replace(MODERATION, default_action="review"),
        replace(MODERATION, unclassified_action="block"),
        replace(MODERATION, model=ModelPin("clip", "1")),
        replace(MODERATION, review_if=ReviewIf("review", frames=2)),
        replace(MODERATION, shadow=True),
        replace(MODERATION, labels=(WEAPON, GORE, INFORMATIVE)),
        replace(MODERATION, labels=(GORE, WEAPON)),
        *(
            replace(MODERATION, labels=(label, WEAPON, INFORMATIVE))
            for label in (
                replace(GORE, name="blood"),
                replace(GORE, prompts=("a wound", "blood")),
                replace(GORE, contrast=("a lawn",)),
                replace(GORE, neutral=True),
                replace(GORE, act=None),
                replace(GORE, act=Threshold(0.91, "block")),
                replace(GORE, review=Threshold(0.6, "block")),
                replace(GORE, categories=("violence",)),
            )
        ),
    ],
)
def test_every_change_of_meaning_changes_the_version(changed: LabelSet) -> None:
    assert changed.version != MODERATION.version


def test_the_version_is_stable_across_releases() -> None:
    """Consumers compare versions across time: the canonical form must not change by accident."""
    assert MODERATION.version == (
        "sha256:852aba32b83927e0211d21f56b9c3a778379331848b3d493118f0062e739f109"
    )


def test_advice_names_what_is_rarely_meant() -> None:
    exclusive = LabelSet(
        name="pets",
        decision=Decision.EXCLUSIVE,
        actions=("tag", "none"),
        default_action="none",
        unclassified_action="none",
        labels=(Label("dog", ("a dog",)), Label("cat", ("a cat",))),
    )

    no_neutral, no_threshold = exclusive.advice()
    (no_pin,) = MODERATION.advice()

    assert "neutral" in no_neutral
    assert "threshold" in no_threshold
    assert "pin" in no_pin
    assert replace(MODERATION, model=ModelPin("clip", "1")).advice() == ()
