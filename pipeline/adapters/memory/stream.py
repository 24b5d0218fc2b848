"""A broker in memory with the semantics that the stream worker relies on: consumer groups with
cooperative rebalances, transactions that are visible as a whole or not at all, and fencing.

For tests and for trying label sets without Kafka. Each stream is single-threaded; the broker itself
is locked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.errors import CommitDoubtful, Halt, OutcomeTooLarge
from pipeline.ports import Assigned, Commit, Polled, Revoked
from pipeline.records import Headers, OutputRecord, Partition, Position, Record
from pipeline.records.progress import Progress

BEGINNING = Progress(0)

CommitFault = Literal["lost", "applied"]
"""A commit without an answer: ``lost`` before the broker executed it, ``applied`` afterwards."""


@dataclass(slots=True)
class _Group:
    committed: dict[Partition, Progress] = field(default_factory=dict)
    members: list[str] = field(default_factory=list)
    owners: dict[Partition, str] = field(default_factory=dict)


class MemoryBroker:
    """Topics, groups and transactional ids."""

    def __init__(self, max_message_bytes: int = 1_048_576) -> None:
        self.max_message_bytes = max_message_bytes
        self.published: list[OutputRecord] = []
        """What a read_committed consumer sees, in order."""
        self.commit_faults: list[CommitFault] = []
        """Taken from the front by the next commits."""
        self._logs: dict[Partition, list[Record]] = {}
        self._groups: dict[str, _Group] = {}
        self._epochs: dict[str, int] = {}
        self._lock = threading.Lock()

    def create_topic(self, topic: str, partitions: int) -> None:
        for number in range(partitions):
            self._logs[Partition(topic, number)] = []

    def produce(
        self,
        partition: Partition,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp_ms: int = 0,
    ) -> Position:
        with self._lock:
            log = self._logs[partition]
            position = Position(partition, len(log))
            log.append(Record(position, timestamp_ms, key, value, headers))
        return position

    def committed(self, group: str, partition: Partition) -> int:
        with self._lock:
            return self._groups[group].committed.get(partition, BEGINNING).offset

    def progress(self, group: str, partition: Partition) -> Progress:
        with self._lock:
            return self._groups[group].committed.get(partition, BEGINNING)

    # -- called by MemoryStream -------------------------------------------------------------

    def read(self, partition: Partition, offset: int, limit: int) -> list[Record]:
        with self._lock:
            return self._logs[partition][offset : offset + limit]

    def end(self, partition: Partition) -> int:
        with self._lock:
            return len(self._logs[partition])

    def join(self, group: str, member: str, topics: Iterable[str]) -> None:
        with self._lock:
            state = self._groups.setdefault(group, _Group())
            if member not in state.members:
                state.members.append(member)
            for partition in self._logs:
                if partition.topic in topics:
                    state.committed.setdefault(partition, BEGINNING)

    def leave(self, group: str, member: str) -> None:
        with self._lock:
            state = self._groups[group]
            if member in state.members:
                state.members.remove(member)
            for partition in [p for p, owner in state.owners.items() if owner == member]:
                del state.owners[partition]

    def rebalance(
        self, group: str, member: str
    ) -> tuple[set[Partition], dict[Partition, Progress]]:
        """One member's part of a cooperative rebalance: the partitions that it must give up now,
        and those that it gets, with progress, because their former owner has given them up."""
        with self._lock:
            state = self._groups[group]
            partitions = sorted(state.committed)
            share = {
                partition
                for index, partition in enumerate(partitions)
                if state.members and state.members[index % len(state.members)] == member
            }
            owned = {p for p, owner in state.owners.items() if owner == member}
            revoked = owned - share
            for partition in revoked:
                del state.owners[partition]
            gained = {p for p in share if p not in state.owners}
            for partition in gained:
                state.owners[partition] = member
            return revoked, {p: state.committed[p] for p in sorted(gained)}

    def fence(self, transactional_id: str) -> int:
        """A new epoch of the id. The owner of an older epoch is fenced."""
        with self._lock:
            self._epochs[transactional_id] = self._epochs.get(transactional_id, 0) + 1
            return self._epochs[transactional_id]

    def transact(
        self, group: str, member: str, transactional_id: str, epoch: int, commit: Commit
    ) -> None:
        with self._lock:
            if self._epochs[transactional_id] != epoch:
                raise CommitDoubtful("memory.fenced", f"{transactional_id} is fenced")
            state = self._groups[group]
            if any(state.owners.get(partition) != member for partition in commit.progress):
                raise CommitDoubtful("memory.not_owner", f"{member} does not own the partitions")
            for index, record in enumerate(commit.records):
                if record.size_bytes > self.max_message_bytes:
                    raise OutcomeTooLarge(index, f"{record.size_bytes} bytes are too many")
            fault = self.commit_faults.pop(0) if self.commit_faults else None
            if fault != "lost":
                state.committed.update(commit.progress)
                self.published.extend(commit.records)
            if fault is not None:
                raise CommitDoubtful("memory.fault", f"no answer to the commit ({fault})")

    def topic_exists(self, topic: str) -> bool:
        return any(partition.topic == topic for partition in self._logs)


class MemoryStream:
    """Implements ``pipeline.ports.Stream`` over a ``MemoryBroker``."""

    def __init__(
        self, broker: MemoryBroker, group: str, topics: tuple[str, ...], member: str
    ) -> None:
        for topic in topics:
            if not broker.topic_exists(topic):
                raise Halt("memory.topic_missing", f"no topic {topic}")
        self._broker = broker
        self._group = group
        self._member = member
        self._transactional_id = f"{group}-{member}"
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._epoch: int | None = None
        broker.join(group, member, topics)

    def poll(self, max_records: int, timeout_s: float) -> Polled:
        revoked, gained = self._broker.rebalance(self._group, self._member)
        for partition in revoked:
            del self._positions[partition]
            self._paused.discard(partition)
        self._positions.update({each: progress.offset for each, progress in gained.items()})
        changes: tuple[Assigned | Revoked, ...] = (
            *(Revoked(partition) for partition in sorted(revoked)),
            *(Assigned(partition, progress) for partition, progress in gained.items()),
        )
        records: list[Record] = []
        for partition, position in self._positions.items():
            if partition in self._paused:
                continue
            batch = self._broker.read(partition, position, max_records - len(records))
            self._positions[partition] += len(batch)
            records.extend(batch)
        if not records and not changes:
            # Waits briefly, as a real broker does, so that a caller that polls in a loop does not
            # spin.
            time.sleep(min(timeout_s, 0.001))
        return Polled(changes, tuple(records))

    def pause(self, partitions: Iterable[Partition]) -> None:
        self._paused.update(p for p in partitions if p in self._positions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        self._paused.difference_update(partitions)

    def seek(self, partition: Partition, offset: int) -> None:
        if partition in self._positions:
            self._positions[partition] = offset

    def commit(self, commit: Commit) -> None:
        if self._epoch is None:
            raise CommitDoubtful("memory.no_producer", "recover first")
        try:
            self._broker.transact(
                self._group, self._member, self._transactional_id, self._epoch, commit
            )
        except CommitDoubtful:
            self._epoch = None
            raise

    def recover(self) -> Mapping[Partition, Progress | None]:
        self._epoch = self._broker.fence(self._transactional_id)
        return {p: self._broker.progress(self._group, p) for p in self._positions}

    @property
    def confirmed(self) -> bool:
        return True

    @property
    def can_commit(self) -> bool:
        return self._epoch is not None

    def positions(self) -> Mapping[Partition, int]:
        return dict(self._positions)

    def ends(self) -> Mapping[Partition, int]:
        return {partition: self._broker.end(partition) for partition in self._positions}

    def close(self, timeout_s: float) -> None:
        self._broker.leave(self._group, self._member)
