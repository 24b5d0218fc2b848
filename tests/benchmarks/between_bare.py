"""The process that ``between`` compares with: the same clients in a plain loop."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from obstore.store import S3Store

from tests.benchmarks.cpu_time import Spending

POLL_MS = 50

Published = tuple[str, str, tuple[tuple[str, str], ...]]
"""A record's topic, value and headers; bytes are in hexadecimal."""


@dataclass(frozen=True)
class Loop:
    """What the loop does: ``records`` are sent for each image, as the worker publishes them."""

    bootstrap: str
    topic: str
    group: str
    endpoint: str
    region: str
    bucket: str
    at_once: int
    per_commit: int
    warm: int
    images: int
    records: tuple[Published, ...]


async def run(loop: Loop, output: Path) -> None:
    """Poll, get the objects, send two records for each, and commit every ``per_commit`` images."""
    store = S3Store(
        loop.bucket,
        endpoint=loop.endpoint,
        region=loop.region,
        access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        client_options={"allow_http": True},
    )
    outputs = [
        (topic, bytes.fromhex(value), [(name, bytes.fromhex(each)) for name, each in headers])
        for topic, value, headers in loop.records
    ]
    consumer = KafkaConsumer(
        loop.topic,
        bootstrap_servers=[loop.bootstrap],
        group_id=loop.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    producer = KafkaProducer(
        bootstrap_servers=[loop.bootstrap],
        transactional_id=loop.group,
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        batch_size=256 * 1024,
    )
    producer.init_transactions()

    async def get(record_key: bytes) -> int:
        _, _, key = record_key.decode().partition("/")
        answer = await obstore.get_async(store, key)
        return len(await answer.bytes_async())

    spending: Spending | None = None
    done = commits = waiting = 0
    offsets: dict[TopicPartition, int] = defaultdict(int)
    with closing(consumer), closing(producer):
        while done < loop.warm + loop.images:
            most = min(loop.at_once, loop.per_commit - waiting)
            polled: dict[Any, Any] = consumer.poll(timeout_ms=POLL_MS, max_records=most)
            records = [raw for batch in polled.values() for raw in batch]
            if not records:
                continue
            await asyncio.gather(*(get(raw.key) for raw in records))
            if not waiting:
                producer.begin_transaction()
            for raw in records:
                for topic, value, headers in outputs:
                    producer.send(topic, value=value, key=raw.key, headers=headers)
                offsets[TopicPartition(raw.topic, raw.partition)] = raw.offset + 1
            waiting += len(records)
            if waiting >= loop.per_commit:
                producer.send_offsets_to_transaction(
                    {tp: OffsetAndMetadata(offset, "", -1) for tp, offset in offsets.items()},
                    consumer.group_metadata(),
                )
                producer.commit_transaction()
                done, waiting, commits = done + waiting, 0, commits + 1
                offsets.clear()
                if spending is None and done >= loop.warm:
                    spending = Spending(done, commits)
        assert spending is not None
        spending.until(done, commits).save(output)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("loop", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    given = json.loads(arguments.loop.read_text())
    asyncio.run(run(Loop(**given), arguments.output))


if __name__ == "__main__":
    main()
