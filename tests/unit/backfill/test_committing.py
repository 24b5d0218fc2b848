"""Who has committed a shard, whatever the store says about it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pipeline.adapters.memory.folder import MemoryFolder
from pipeline.backfill import layout
from pipeline.backfill.committing import (
    PLAN,
    Committed,
    commit,
    committed_shards,
    create_once,
    require_unused,
)
from pipeline.errors import Halt, Retry

NO_METADATA: Mapping[str, str] = {}
NAME = layout.data_file(0)


class Undecided(MemoryFolder):
    """Answers to the next writes that the object exists, which it need not."""

    def __init__(self, times: int, *, writes: bool = False) -> None:
        super().__init__()
        self._times = times
        self._writes = writes
        self.tries = 0

    def create(self, name: str, body: bytes, metadata: Mapping[str, str] = NO_METADATA) -> bool:
        self.tries += 1
        if self._times > 0:
            self._times -= 1
            if self._writes:
                super().create(name, body, metadata)
            return False
        return super().create(name, body, metadata)


def test_the_first_attempt_commits_and_the_second_learns_of_it() -> None:
    folder = MemoryFolder()
    assert commit(folder, NAME, b"one", "a", "plan") is Committed.HERE
    assert commit(folder, NAME, b"two", "b", "plan") is Committed.BEFORE
    assert commit(folder, NAME, b"one", "a", "plan") is Committed.HERE, "asked again"
    found = folder.read(NAME)
    assert found is not None
    assert found.body == b"one"


def test_an_attempt_whose_answer_was_lost_finds_its_own_object() -> None:
    folder = Undecided(1, writes=True)
    assert commit(folder, NAME, b"one", "a", "plan") is Committed.HERE
    assert folder.tries == 1


def test_a_conflict_of_two_writers_is_waited_out() -> None:
    folder, waits = Undecided(3), list[float]()
    assert commit(folder, NAME, b"one", "a", "plan", waits.append) is Committed.HERE
    assert waits == [0.1, 0.5, 2.0]


def test_a_store_that_contradicts_itself_for_good_is_a_failure_that_may_pass() -> None:
    folder = Undecided(99)
    with pytest.raises(Retry, match=NAME):
        commit(folder, NAME, b"one", "a", "plan", lambda _: None)
    with pytest.raises(Retry, match="x"):
        create_once(folder, "x", b"one", lambda _: None)


@pytest.mark.parametrize("metadata", [{}, {PLAN: "other"}])
def test_an_object_of_another_job_is_not_taken_over(metadata: dict[str, str]) -> None:
    folder = MemoryFolder()
    folder.write(NAME, b"theirs", metadata)
    with pytest.raises(Halt, match="choose an empty output") as raised:
        commit(folder, NAME, b"ours", "a", "plan")
    assert raised.value.code == "backfill.foreign_output"


def test_what_is_created_once_is_what_came_first() -> None:
    folder = MemoryFolder()
    assert create_once(folder, layout.JOB, b"first") == b"first"
    assert create_once(folder, layout.JOB, b"second") == b"first"
    assert create_once(Undecided(2, writes=True), layout.JOB, b"lost") == b"lost"


def test_committed_shards_are_those_of_the_listing() -> None:
    folder = MemoryFolder()
    assert committed_shards(folder, 10, "plan") == set()
    for shard in (3, 7):
        commit(folder, layout.data_file(shard), b"", "a", "plan")
    folder.write("data/notes.txt", b"")
    assert committed_shards(folder, 10, "plan") == {3, 7}
    for shards, plan in ((10, "other"), (7, "plan")):
        with pytest.raises(Halt, match=r"data/000007\.parquet"):
            committed_shards(folder, shards, plan)


def test_a_new_job_needs_an_output_without_results() -> None:
    folder = MemoryFolder()
    require_unused(folder)
    folder.write(layout.data_file(0), b"")
    with pytest.raises(Halt, match="another program"):
        require_unused(folder)
    folder.write(layout.JOB, b"")
    require_unused(folder)
