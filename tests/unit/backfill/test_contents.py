"""`--dedupe`: rows of equal content stand together, in the order of the source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.manifests.copies.contents import COPY, RUN_BYTES, Contents, originals
from pipeline.adapters.parquet.cutting import Rows, complete
from pipeline.backfill.rows import PlanRow, rows_by_content

MD5, OTHER = "0123456789abcdef" * 2, "f" * 32

Named = tuple[str, str, str | None, str | None, int | None]
"""Bucket, key, version id, ETag and size."""

NAMES = ("bucket", "key", "version_id", "etag", "size_bytes")


def rows_of(objects: Sequence[Named]) -> Rows:
    columns = {name: [each[at] for each in objects] for at, name in enumerate(NAMES)}
    return complete(columns, len(objects))


def plan_rows_of(objects: Sequence[Named]) -> list[PlanRow]:
    return [PlanRow(number, *each) for number, each in enumerate(objects)]


def nothing() -> None:
    pass


def together(
    objects: Sequence[Named],
    shard_rows: int = 1000,
    at_once: int = 3,
    tell: Callable[[], object] = nothing,
    run_bytes: int = RUN_BYTES,
) -> tuple[list[Named], list[bool], int]:
    """The rows in their new order, which of them are copies, and how many these are."""

    def source() -> Iterator[tuple[int, Rows]]:
        for at in range(0, len(objects), at_once):
            some = rows_of(objects[at : at + at_once])
            yield some.num_rows, some

    found: list[Named] = []
    copies: list[bool] = []
    read = 0
    with closing(Contents(shard_rows, "100MB", run_bytes)) as contents:
        for entries, rows in contents.together(source(), tell):
            read += entries
            found += zip(*(rows.column(name).to_pylist() for name in NAMES), strict=True)
            copies += rows.column(COPY).to_pylist()
        assert read == len(objects)
        assert contents.copies == sum(copies)
    return found, copies, sum(copies)


def test_copies_follow_the_first_row_of_their_content() -> None:
    a, b, c = ("b", "a", None, MD5, 7), ("b", "b", None, OTHER, 7), ("b", "c", None, MD5, 7)
    assert together([a, b, c]) == ([a, c, b], [False, True, False], 1)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (("b", "k", None, MD5, 7), ("c", "j", "v1", MD5, 7), True),
        (("b", "k", None, f"{MD5}-12", 7), ("b", "j", None, f"{MD5}-12", 7), True),
        (("b", "k", None, MD5, 7), ("b", "j", None, MD5, 8), False),
        (("b", "k", None, MD5, 7), ("b", "j", None, OTHER, 7), False),
        (("b", "k", None, MD5, 7), ("b", "j", None, f"{MD5}-12", 7), False),
        (("b", "k", None, MD5, None), ("b", "j", None, MD5, None), False),
        (("b", "k", None, None, 7), ("b", "j", None, None, 7), False),
        (("b", "k", None, "5f-6a7b", 7), ("b", "j", None, "5f-6a7b", 7), False),
        (("b", "k", None, None, None), ("b", "k", None, None, None), True),
        (("b", "k", None, "5f-6a7b", 7), ("b", "k", None, "5f-6a7b", 7), True),
        (("b", "k", "v1", None, None), ("b", "k", "v1", None, None), True),
        (("b", "k", "v1", None, None), ("b", "k", "v2", None, None), False),
        (("b", "k", "v1", None, None), ("b", "k", None, "v1", None), False),
        (("b", "k", None, "e1", None), ("b", "k", None, "e2", None), False),
    ],
)
def test_contents_are_equal_by_digest_and_size_or_by_name(
    one: Named, other: Named, equal: bool
) -> None:
    assert together([one, other])[2] == equal
    assert len(list(rows_by_content(plan_rows_of([one, other]), together=True))) == 2 - equal


objects = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from(["k", "k/", "é", "a'b", "\x01", "v1"]),
        st.sampled_from([None, "v1", "v2"]),
        st.sampled_from([None, MD5, OTHER, f"{MD5}-2", "e1"]),
        st.sampled_from([None, 7, 8]),
    ),
    max_size=12,
)


@settings(max_examples=15)
@given(objects, st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 300, RUN_BYTES]))
def test_no_row_is_lost_and_the_order_is_that_of_the_first_rows(
    source: list[Named], shard_rows: int, at_once: int, run_bytes: int
) -> None:
    first: dict[tuple[object, ...], int] = {}
    rows = plan_rows_of(source)
    for row in rows:
        first.setdefault(row.content, row.number)
    wanted = sorted(rows, key=lambda row: first[row.content])
    found, copies, _ = together(source, shard_rows, at_once, run_bytes=run_bytes)
    assert found == [source[row.number] for row in wanted]
    # What a worker makes of each shard: the first row of each list is read, the others are copies.
    placed = plan_rows_of(found)
    is_copy: list[bool] = []
    for at in range(0, len(placed), shard_rows):
        for group in rows_by_content(placed[at : at + shard_rows], together=True):
            is_copy += [False] + [True] * (len(group) - 1)
    assert copies == is_copy


def test_erased_rows_are_left_out_and_separate_no_copies() -> None:
    objects = [("b", "a", None, MD5, 7), ("", "", None, None, None), ("b", "c", None, MD5, 7)]
    rows = plan_rows_of(objects)
    assert list(rows_by_content(rows, together=True)) == [[rows[0], rows[2]]]
    assert list(rows_by_content(rows, together=False)) == [[rows[0]], [rows[2]]]


def test_rows_that_nobody_compared_are_all_read() -> None:
    rows = rows_of([("b", "a", None, MD5, 7)] * 2)
    assert originals(rows).num_rows == 2


def test_whoever_waits_is_told_and_may_stop_the_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    monkeypatch.setattr("pipeline.adapters.manifests.copies.contents._TOLD_S", 0.0)
    monkeypatch.setattr(
        "pipeline.adapters.manifests.copies.contents._COPIES",
        "SELECT n AS place, n AS first FROM range(100_000_000_000) AS many(n) ORDER BY hash(n)",
    )
    with pytest.raises(Stopped):
        together([("b", "a", None, MD5, 7)], tell=stop)


def test_whoever_takes_no_more_rows_can_close() -> None:
    rows = rows_of([("b", f"{number}", None, MD5, number) for number in range(200_000)])
    contents = Contents(1000)
    assert sum(1 for _ in zip(range(2), contents.together([(1, rows)], nothing), strict=False)) == 2
    contents.close()


def test_many_runs_are_merged_in_order() -> None:
    count, kinds = 60_000, 7_000
    source: list[Named] = [
        ("b", f"{number:0200}", None, f"{number * 11 % kinds:032x}", 7) for number in range(count)
    ]
    found, _, copies = together(source, count, 5_000, run_bytes=2_000_000)
    assert copies == count - kinds
    assert [int(each[1]) for each in found] == sorted(
        range(count), key=lambda number: (number % kinds, number)
    )
