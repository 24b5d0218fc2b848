"""The judge of the chaos harness alone: what it lets pass, and what it reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pipeline.adapters.kafka.outcomes import PublishedOutcome
from pipeline.commit.order import Order
from pipeline.records import OutputRecord, OutputTopic
from pipeline.records.progress import Progress
from tests.rigs.judge import Verdict, judge
from tests.rigs.stages.pipeline_of_fakes import Place

TOPIC = OutputTopic.CLASSIFICATIONS
PLACES: list[Place] = [(0, 0, 0), (0, 1, 0), (0, 1, 1), (1, 0, 0)]
COMMITTED = {0: Progress(2), 1: Progress(1)}


def due(place: Place) -> OutputRecord:
    name = ".".join(map(str, place)).encode()
    return OutputRecord(TOPIC, b"key", b"of " + name, (("ce_id", name),))


def seen(place: Place, offset: int) -> PublishedOutcome:
    record = due(place)
    headers = {name: value or b"" for name, value in record.headers}
    return PublishedOutcome(TOPIC, 0, offset, record.key, record.value or b"", headers)


EXPECTED = {place: (due(place),) for place in PLACES}
GOOD = [seen(place, offset) for offset, place in enumerate(PLACES)]


def verdict_of(
    *visible: PublishedOutcome, committed: Mapping[int, Progress] = COMMITTED, order: Order = "key"
) -> Verdict:
    return judge(EXPECTED, visible, committed, order)


def test_what_is_due_and_seen_once_passes() -> None:
    assert verdict_of(*GOOD).passed
    assert verdict_of(*GOOD).inputs == len(PLACES)


def test_an_order_between_partitions_is_not_asked_for() -> None:
    late = replace(GOOD[0], offset=10)
    others = [replace(each, offset=11 + number) for number, each in enumerate(GOOD[1:3])]
    assert verdict_of(late, *others, GOOD[3]).passed


def test_what_is_not_seen_below_the_committed_offset_is_lost() -> None:
    assert verdict_of(*GOOD[1:]).lost == ["classifications of 0@0.0"]


def test_what_is_not_committed_need_not_be_there() -> None:
    assert verdict_of(GOOD[0], committed={0: Progress(1), 1: Progress(0)}).passed


def test_what_is_seen_before_it_is_committed_is_reported() -> None:
    verdict = verdict_of(GOOD[0], GOOD[1], committed={0: Progress(1), 1: Progress(0)})
    assert verdict.mismatched == ["classifications of 0@1.0"]


def test_what_is_seen_twice_is_reported() -> None:
    assert verdict_of(*GOOD, replace(GOOD[3], offset=9)).duplicated == ["classifications of 1@0.0"]


def test_an_outcome_that_is_none_is_reported() -> None:
    (found,) = verdict_of(*GOOD, replace(GOOD[0], headers={"ce_id": b"?"})).mismatched
    assert found.startswith("no such classifications is due")


def test_other_contents_are_reported() -> None:
    assert verdict_of(*GOOD[:3], replace(GOOD[3], value=b"?")).mismatched
    assert verdict_of(*GOOD[:3], replace(GOOD[3], key=b"?")).mismatched


def test_an_outcome_behind_a_later_one_of_its_key_and_partition_is_reported() -> None:
    first, second, third, other = GOOD
    verdict = verdict_of(replace(first, offset=8), second, third, other)
    assert verdict.mismatched == ["classifications of 0@0.0 was overtaken"]
    swapped = verdict_of(first, replace(second, offset=2), replace(third, offset=1), other)
    assert swapped.mismatched == ["classifications of 0@1.0 was overtaken"]


def test_what_is_done_beyond_the_offset_is_due_and_nothing_before_it() -> None:
    ahead = {0: Progress(0, (range(1, 2),)), 1: Progress(1)}
    assert verdict_of(*GOOD[1:], committed=ahead).passed
    assert verdict_of(*GOOD, committed=ahead).mismatched == ["classifications of 0@0.0"]
    assert verdict_of(*GOOD[2:], committed=ahead).lost == ["classifications of 0@1.0"]


def test_only_the_order_that_was_promised_is_asked_for() -> None:
    first, second, third, other = GOOD
    assert verdict_of(replace(first, offset=8), second, third, other, order="none").passed
    another_key = replace(first, key=b"another", offset=8)
    assert "overtaken" in str(verdict_of(another_key, second, third, order="partition"))
    assert "overtaken" not in str(verdict_of(another_key, second, third, order="key"))
