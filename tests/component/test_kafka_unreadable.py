"""Records that cannot be read, on a real Kafka: none of them harms another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import kafka.codec
import pytest
from kafka import TopicPartition

from pipeline.adapters.kafka.reading import MAX_FETCHES
from pipeline.errors import Halt
from pipeline.records import Position
from tests.rigs.services.kafka_deployment import Deployment, Polling
from workers.embedded.kafka import EmbeddedKafka

pytestmark = pytest.mark.component

CORRUPT = b"these bytes will be damaged on the broker's disk"


class RawName(str):
    """A header name that is no UTF-8 on the wire, as clients in other languages may send."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe" + str.encode(self)


@pytest.fixture
def deployment(kafka_bootstrap: str) -> Iterator[Deployment]:
    with Deployment(kafka_bootstrap) as opened:
        yield opened


class Damage:
    """One byte of every damaged record of partition 0, as a failing disk returns it."""

    def __init__(self, broker: EmbeddedKafka, deployment: Deployment) -> None:
        folder = broker.log.parent / "log" / f"{deployment.input}-0"
        self._segment: Path = folder / "00000000000000000000.log"
        healthy = self._segment.read_bytes()
        assert CORRUPT in healthy
        self._healthy = healthy
        self._write(healthy.replace(CORRUPT, CORRUPT.upper()))

    def heal(self) -> None:
        self._write(self._healthy)

    def _write(self, content: bytes) -> None:
        # In place: the broker has the file open.
        with self._segment.open("r+b") as file:
            file.write(content)


@pytest.fixture
def damage(kafka: EmbeddedKafka, deployment: Deployment) -> Damage:
    """Partition 0 holds three batches, the middle one damaged; partition 1 a healthy one."""
    deployment.produce([b"a0", b"a1"])
    deployment.produce([b"b2", CORRUPT, b"b4"])
    deployment.produce([b"c5"])
    deployment.produce([b"healthy"], partition=1)
    return Damage(kafka, deployment)


def fetches(polling: Polling, deployment: Deployment) -> int:
    """How often the damaged batch was fetched."""
    found = polling.stream._reading._fetches.get(TopicPartition(deployment.input, 0))
    return found[1] if found else 0


def failed_again(polling: Polling, deployment: Deployment) -> None:
    """Poll until the damaged batch was fetched once more."""
    before = fetches(polling, deployment)
    polling.until(lambda: fetches(polling, deployment) > before)


@pytest.mark.usefixtures("damage")
def test_a_damaged_batch_is_given_up_and_everything_else_is_read(deployment: Deployment) -> None:
    polling = Polling(deployment.stream())
    polling.until(lambda: b"c5" in polling.values)
    assert sorted(filter(None, polling.values)) == [b"a0", b"a1", b"c5", b"healthy"]
    lost = [unreadable.position for unreadable in polling.unreadable]
    assert lost == [Position(deployment.partition(0), offset) for offset in (2, 3, 4)]
    assert all("crc" in unreadable.reason for unreadable in polling.unreadable)
    assert {unreadable.attempts for unreadable in polling.unreadable} == {4}
    assert polling.stream.positions()[deployment.partition(0)] == 6


@pytest.mark.usefixtures("damage")
def test_healthy_partitions_flow_while_a_batch_fails(deployment: Deployment) -> None:
    polling = Polling(deployment.stream())
    failed_again(polling, deployment)
    deployment.produce([b"meanwhile"], partition=1)
    polling.until(lambda: b"meanwhile" in polling.values and b"c5" in polling.values)
    assert len(polling.unreadable) == 3


def test_a_batch_that_can_be_read_in_the_end_is_not_given_up(
    deployment: Deployment, damage: Damage
) -> None:
    polling = Polling(deployment.stream())
    polling.until(lambda: fetches(polling, deployment) == MAX_FETCHES - 1)
    assert polling.unreadable == []
    damage.heal()
    polling.until(lambda: b"c5" in polling.values)
    of_first = [r.value for r in polling.records if r.position.partition == deployment.partition(0)]
    assert of_first == [b"a0", b"a1", b"b2", CORRUPT, b"b4", b"c5"]
    assert polling.unreadable == []


@pytest.mark.usefixtures("damage")
def test_a_partition_that_is_paused_while_a_batch_fails_goes_on_when_it_is_resumed(
    deployment: Deployment,
) -> None:
    """kafka-python's own reader spins for ever then, inside poll."""
    polling = Polling(deployment.stream())
    first = [deployment.partition(0)]
    for _ in range(1, MAX_FETCHES):
        failed_again(polling, deployment)
        polling.stream.pause(first)
        for _ in range(3):
            polling.once()
        polling.stream.resume(first)
    polling.until(lambda: b"c5" in polling.values)
    assert [unreadable.position.offset for unreadable in polling.unreadable] == [2, 3, 4]


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_header_name_that_is_not_text_costs_neither_its_record_nor_its_neighbours(
    deployment: Deployment, compression: str | None
) -> None:
    headers = [(RawName("name"), b"\x00\xff"), ("plain", b"p"), ("größe", b"")]
    deployment.produce(
        [b"0", b"1", b"2"], headers={1: headers, 2: headers[1:]}, compression_type=compression
    )
    polling = Polling(deployment.stream())
    polling.until(lambda: len(polling.records) == 3)
    assert polling.values == [b"0", b"1", b"2"]
    assert [record.headers for record in polling.records] == [
        (),
        (("\\xff\\xfename", b"\x00\xff"), ("plain", b"p"), ("größe", b"")),
        (("plain", b"p"), ("größe", b"")),
    ]
    assert polling.unreadable == []


def test_a_codec_that_is_not_installed_stops_the_worker(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no fault of the records: none of them may be dead-lettered for it."""
    deployment.produce([b"compressed"] * 10, compression_type="lz4")
    monkeypatch.setattr(kafka.codec, "has_lz4", lambda: False)
    polling = Polling(deployment.stream())
    with pytest.raises(Halt, match=r"clipstream\[compression\]") as halt:
        polling.until(lambda: False)
    assert halt.value.code == "kafka.codec_missing"
    assert polling.unreadable == []
