"""The demo's verdict is of single references: a gap is not made good by a duplicate."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from pipeline.adapters.kafka.outcomes import PublishedOutcome
from pipeline.records import OutputTopic
from workers.demo.account import Account, Entry, Results, SentRecord
from workers.demo.messages import DemoMessage
from workers.demo.sent import placed
from workers.embedded.processes import ServiceError

ONE = DemoMessage("native", b"{}", b"one")
LIST = DemoMessage("native, a list", b"[]", b"list", entries=2)
SKIP = DemoMessage("tombstone", None, b"skip-1")
SENT = [SentRecord(ONE, 0, 7), SentRecord(LIST, 1, 0), SentRecord(SKIP, 1, 1)]
ENTRIES = [Entry(0, 7, 0), Entry(1, 0, 0), Entry(1, 0, 1)]


def classification(entry: Entry) -> PublishedOutcome:
    value = json.dumps({"position": {"topic": "t"} | asdict(entry)}).encode()
    return PublishedOutcome(OutputTopic.CLASSIFICATIONS, 3, 99, None, value, {})


def dead_letter(entry: Entry) -> PublishedOutcome:
    headers = {f"dlq.{name}": b"%d" % number for name, number in asdict(entry).items()}
    return PublishedOutcome(OutputTopic.DEAD_LETTERS, 3, 99, None, b"", headers)


def results(*outcomes: PublishedOutcome, skipped: int = 1) -> Results:
    found = Results(SENT, skipped=skipped)
    for outcome in outcomes:
        found.add(outcome)
    return found


def test_classifications_and_dead_letters_are_one_outcome_each() -> None:
    found = results(*map(classification, ENTRIES[:2]), dead_letter(ENTRIES[2]))
    assert found.complete
    assert found.account() == Account(lost=0, duplicated=0)
    assert (found.references, found.expected_visible) == (4, 3)


def test_one_lost_and_one_duplicated_are_not_a_full_account() -> None:
    found = results(*map(classification, [ENTRIES[0], ENTRIES[1], ENTRIES[1]]))
    assert not found.complete
    assert found.account() == Account(lost=1, duplicated=1)


def test_a_classification_beside_a_dead_letter_of_the_same_reference_is_a_duplicate() -> None:
    found = results(*map(classification, ENTRIES), dead_letter(ENTRIES[0]))
    assert found.complete
    assert found.account() == Account(lost=0, duplicated=1)


@pytest.mark.parametrize("entry", [Entry(1, 1, 0), Entry(0, 7, 1), Entry(2, 7, 0)])
def test_an_outcome_of_nothing_that_was_to_have_one_is_one_too_many(entry: Entry) -> None:
    found = results(*map(classification, [*ENTRIES, entry]))
    assert found.account() == Account(lost=0, duplicated=1)


@pytest.mark.parametrize(("skipped", "lost", "duplicated"), [(0, 1, 0), (2, 0, 1)])
def test_skips_are_counted(skipped: int, lost: int, duplicated: int) -> None:
    found = results(*map(classification, ENTRIES), skipped=skipped)
    assert found.account() == Account(lost, duplicated)


def test_an_embedding_is_no_outcome_of_its_own() -> None:
    embedding = PublishedOutcome(OutputTopic.EMBEDDINGS, 0, 0, None, b"", {})
    found = results(*map(classification, ENTRIES), embedding)
    assert found.account() == Account(0, 0)
    assert found.embeddings == 1


def test_an_action_is_no_outcome_of_its_own() -> None:
    action = PublishedOutcome(OutputTopic.ACTIONS, 0, 0, None, b"{}", {})
    assert results(*map(classification, ENTRIES), action).account() == Account(0, 0)


def test_messages_are_found_where_the_broker_put_them() -> None:
    found = iter([(1, 0, b"list"), (1, 1, b"skip-1"), (0, 7, b"one")])
    assert set(placed([ONE, LIST, SKIP], found)) == set(SENT)


@pytest.mark.parametrize("keys", [[b"one"], [b"one", b"list", b"one"], [b"one", b"other"]])
def test_an_input_topic_that_holds_anything_else_is_an_error(keys: list[bytes]) -> None:
    with pytest.raises(ServiceError, match="input topic"):
        placed([ONE, LIST], ((0, offset, key) for offset, key in enumerate(keys)))


def at(*times_ms: int) -> Results:
    results = Results([])
    for time_ms in times_ms:
        results.classified.append(replace(classification(ENTRIES[0]), timestamp_ms=time_ms))
    return results


def test_the_rate_is_that_of_the_images_after_the_first_transaction() -> None:
    assert at(1000, 1000, 1000, 1500, 2000, 2000).images_per_second == 3.0


def test_a_single_transaction_has_no_rate() -> None:
    assert at(1000, 1000).images_per_second == 0.0
    assert at().images_per_second == 0.0
