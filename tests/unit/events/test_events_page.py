"""What docs/events.md says of topics is what `clipstream doctor` creates and demands."""

from __future__ import annotations

from pipeline.adapters.kafka.doctor import sound_topics
from pipeline.adapters.kafka.policy import KafkaPolicy, TopicNames
from tests.rigs.root import ROOT

PAGE = " ".join((ROOT / "docs/events.md").read_text().split())
DAY_MS = 24 * 3600 * 1000


def test_the_retention_on_the_page_is_the_one_that_topics_are_created_with() -> None:
    kafka = KafkaPolicy(output_topics=TopicNames(actions="actions"))
    days = {
        name: int(configs["retention.ms"]) // DAY_MS
        for name, configs in sound_topics(kafka).items()
        if name != kafka.output_topics.label_sets
    }
    waiting = {days.pop(kafka.output_topics.dead_letters), days.pop("actions")}
    (of_others,) = set(days.values())
    (of_waiting,) = waiting
    assert f"gives the topics of dead letters and actions {of_waiting} days, because" in PAGE
    assert f"the input topics and the other two output topics {of_others} days." in PAGE
    assert "14 days" not in PAGE


def test_the_page_allows_no_clean_up_that_the_doctor_fails() -> None:
    assert "All output topics need `cleanup.policy=delete`." in PAGE
    assert "use it only where" not in PAGE
