"""Topics of backfills: never a topic of the stream or of the server."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from workers.settings.loading import Settings


def settings(**topics: str) -> Settings:
    given: dict[str, Any] = {"backfill": {"topics": topics}}
    return Settings.model_validate(given)


def test_the_topics_of_backfills_have_names_of_their_own() -> None:
    names = dict(settings().backfill.topics)
    assert names == {
        "classifications": "clipstream.backfill.classifications",
        "embeddings": "clipstream.backfill.embeddings",
        "dead_letters": "clipstream.backfill.dead-letters",
        "marks": "clipstream.backfill.marks",
    }


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("clipstream.classifications", "a topic of the stream or of the server"),
        ("clipstream.dead-letters", "a topic of the stream or of the server"),
        ("clipstream.references", "a topic of the stream or of the server"),
        ("clipstream.served", "a topic of the stream or of the server"),
        ("clipstream.backfill.marks", "the name of two topics"),
        ("a b", "is not a topic's name"),
        ("..", "is not a topic's name"),
    ],
)
def test_a_topic_that_has_other_readers_is_refused(name: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        settings(embeddings=name)
