"""Which entries of a source become rows, and under which reason the others are counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from pipeline.adapters.manifests.deciding import Choice, Decider
from pipeline.adapters.manifests.repeats import Repeats
from pipeline.adapters.parquet.columns import PLAN
from pipeline.errors import Halt


def entries(*rows: dict[str, Any], **further: list[Any]) -> pa.Table:
    given = [{"bucket": "photos", "key": f"{number}"} | row for number, row in enumerate(rows)]
    table = pa.Table.from_pylist(given, PLAN)
    for name, values in further.items():
        table = table.append_column(name, pa.array(values))
    return table


def kept(choice: Choice, table: pa.Table) -> tuple[list[str], dict[str, int]]:
    decider = Decider(choice, lambda bucket: bucket == "photos")
    try:
        rows = decider.rows(table)
        assert rows.schema == PLAN
        return rows.column("key").to_pylist(), dict(decider.left_out)
    finally:
        decider.close()


@pytest.fixture
def repeats() -> Iterator[Repeats]:
    counting = Repeats()
    yield counting
    counting.close()


def test_buckets_that_no_setting_allows_are_left_out() -> None:
    table = entries({}, {"bucket": "secrets"}, {"bucket": "photos-2"})
    assert kept(Choice(), table) == (["0"], {"bucket_not_allowed": 2})


def test_folder_markers_are_left_out_and_other_empty_objects_are_not() -> None:
    table = entries(
        {"key": "a/", "size_bytes": 0}, {"key": "b/", "size_bytes": 1}, {"size_bytes": 0}
    )
    assert kept(Choice(), table) == (["b/", "2"], {"folder": 1})


def test_delete_markers_and_old_versions_are_left_out() -> None:
    flags = {"is_latest": [True, False, True, None], "is_delete_marker": [False, False, True, None]}
    table = entries({}, {}, {}, {}, **flags)
    assert kept(Choice(), table) == (["0", "3"], {"delete_marker": 1, "not_latest": 1})
    assert kept(Choice(all_versions=True), table) == (["0", "1", "3"], {"delete_marker": 1})


def test_a_condition_sees_all_columns_of_the_source() -> None:
    table = entries({"size_bytes": 5}, {"size_bytes": 50}, {}, storage_class=["GLACIER", "S", "S"])
    assert kept(Choice(where="size > 10"), table) == (["1"], {"where": 2})
    assert kept(Choice(where="storage_class <> 'GLACIER'"), table)[0] == ["1", "2"]
    assert kept(Choice(where="uri LIKE 's3://photos/%' -- all"), table)[0] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("sise > 10", "sise"),
        ("key >", "cannot be computed"),
        ("count(*) > 0", "does not answer for each row"),
        ("(SELECT count(*) FROM read_csv('/etc/passwd')) > 0", "disabled"),
    ],
)
def test_a_condition_that_cannot_be_computed_is_refused(where: str, said: str) -> None:
    with pytest.raises(Halt, match="--where") as halt:
        kept(Choice(where=where), entries({}, {}))
    assert said in halt.value.message


def test_a_sample_takes_its_share_and_the_same_objects_each_time() -> None:
    table = entries(*[{}] * 20_000)
    first, out = kept(Choice(sample=0.1), table)
    assert 1_700 < len(first) < 2_300
    assert out == {"sample": 20_000 - len(first)}
    halves = [kept(Choice(sample=0.1), table.slice(start, 10_000))[0] for start in (0, 10_000)]
    assert halves[0] + halves[1] == first
    other, _ = kept(Choice(sample=0.1, seed=1), table)
    assert 100 < len({*first} & {*other}) < 320
    assert {*first} < {*kept(Choice(sample=0.2), table)[0]}


def test_the_whole_and_nothing_are_samples_too() -> None:
    table = entries({}, {})
    assert kept(Choice(sample=1), table)[0] == ["0", "1"]
    assert kept(Choice(sample=0), table)[0] == []


def test_repeated_objects_are_counted_by_key_and_version(repeats: Repeats) -> None:
    repeats.add(entries({"key": "a"}, {"key": "a"}, {"key": "b"}, {"key": "b", "version_id": "1"}))
    repeats.add(entries({"key": "a"}, {"key": "b", "bucket": "other"}))
    assert repeats.count() == 2
