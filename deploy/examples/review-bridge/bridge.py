"""Posts the actions of a stream to a webhook: each at least once, those of one key in order.

The body is a CloudEvent in JSON; its `id` tells the webhook which actions it has seen before. Any
status but 2xx is tried again, and holds back what stands behind it in its partition.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request

from kafka import KafkaConsumer, OffsetAndMetadata
from kafka.consumer.fetcher import ConsumerRecord

WEBHOOK = os.environ["WEBHOOK"]
PAUSE_S = float(os.environ.get("PAUSE_S", "5"))


def post(record: ConsumerRecord) -> bool:
    """Whether the webhook has taken the action."""
    named = {name: (value or b"").decode() for name, value in record.headers}
    event = {name.removeprefix("ce_"): named[name] for name in named if name.startswith("ce_")}
    body = json.dumps(event | {"data": json.loads(record.value)}).encode()
    headers = {"content-type": "application/cloudevents+json"}
    if token := os.environ.get("WEBHOOK_TOKEN"):
        headers["authorization"] = f"Bearer {token}"
    try:
        request = urllib.request.Request(WEBHOOK, body, headers)  # noqa: S310 - the operator's
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310
            return True
    except OSError as error:  # no answer, or a status of 400 and more
        print(f"{record.topic}[{record.partition}]@{record.offset}: {error}", flush=True)
        return False


consumer = KafkaConsumer(
    os.environ.get("TOPIC", "clipstream.actions"),
    bootstrap_servers=os.environ.get("BOOTSTRAP_SERVERS", "localhost:9092").split(","),
    group_id=os.environ.get("GROUP", "review-bridge"),
    isolation_level="read_committed",
    auto_offset_reset="earliest",
    enable_auto_commit=False,
    session_timeout_ms=10_000,
)
while True:
    for partition, records in consumer.poll(timeout_ms=1000, max_records=10).items():
        for record in records:
            if not post(record):
                consumer.seek(partition, record.offset)
                time.sleep(PAUSE_S)
                break
            # Only now: whoever starts after a crash posts again what may not have arrived.
            consumer.commit({partition: OffsetAndMetadata(record.offset + 1, "", -1)})
