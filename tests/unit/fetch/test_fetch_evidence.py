"""What a store has answered, as evidence that it serves."""

from __future__ import annotations

from pipeline.fetch.evidence import Answers, Witnesses
from tests.rigs.stages.fetching import Bench, miss, reference, refuse
from tests.rigs.virtual_time import run


def test_a_bucket_is_tried_by_what_was_read_from_it_last() -> None:
    async def main() -> None:
        bench = Bench()
        assert not await bench.fetcher.reads_from("images"), "nothing was read from it"
        await bench.fetch("older")
        await bench.fetch("newer")
        bench.store.scripts["newer"] = miss
        assert await bench.fetcher.reads_from("images"), "one of the two is still there"
        bench.store.scripts["older"] = refuse
        assert not await bench.fetcher.reads_from("images")

    run(main())


def test_the_buckets_that_were_read_longest_ago_are_forgotten() -> None:
    witnesses = Witnesses()
    for number in range(100):
        witnesses.add(reference("first", bucket="kept"))
        witnesses.add(reference("a", bucket=f"bucket-{number}"))
    assert not witnesses.of("bucket-0")
    assert [ref.key for ref in witnesses.of("kept")] == ["first"]
    assert len(witnesses.latest) == 64


def test_answers_about_an_object_do_not_vouch_for_itself() -> None:
    answers = Answers()
    a, b, c = (reference(key) for key in "abc")
    assert not answers
    answers.add(a, 10.0)
    assert answers
    assert not answers.since(5.0, a)
    assert answers.since(10.0, b)
    assert not answers.since(10.1, b)
    assert list(answers.objects) == [a]
    answers.add(b, 20.0)
    answers.add(b, 30.0)
    assert list(answers.objects) == [b, a]
    assert answers.since(10.0, b)
    assert not answers.since(11.0, b)
    answers.add(c, 25.0)
    assert list(answers.objects) == [b, c]


def test_an_answer_that_comes_late_counts_from_when_it_was_asked_for() -> None:
    answers = Answers()
    answers.add(reference("fast"), 50.0)
    answers.add(reference("late"), 10.0)
    answers.add(reference("fast"), 40.0)
    assert answers.since(50.0, reference("any"))
    assert not answers.since(50.1, reference("any"))
    assert answers.since(10.0, reference("fast"))
    assert not answers.since(10.1, reference("fast"))
