"""What a stream worker publishes for the records of this folder, and which metrics it exposes.

Both are pinned, so that a change of structure changes no byte of an event and no name of a metric.
``python -m tests.golden.run`` writes them anew, for a change that is meant and is in CHANGELOG.md.
Every number of an event is exact on any processor: similarities are multiples of a half, and
the logit scale makes each probability 0, 1 or a fraction of equals.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.adapters.memory.stream import MemoryBroker
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.errors import Reject
from pipeline.labels.parsing import parse_label_set
from pipeline.labels.scoring import compile_label_sets
from pipeline.records import (
    DecodedImage,
    ImageGeometry,
    JsonValue,
    ModelIdentity,
    OutputRecord,
    Partition,
    Vector,
)
from pipeline.routes import RoutePolicy, Router
from tests.rigs.stages.pipeline_of_fakes import LABEL_SET, FakeStages, Unbatched, flow_of, nowhere
from tests.rigs.waiting import eventually
from tests.rigs.workers.stream_worker import TOPIC, committed, running
from workers.label_sets import Rules

HERE = Path(__file__).parent
RECORDS = HERE / "records.json"
EVENTS = HERE / "events.json"
METRICS = HERE / "metrics.json"

MAX_MESSAGE_BYTES = 4_200
"""Some of the outcomes are larger."""

STRICT_SET: dict[str, JsonValue] = {
    "name": "strict",
    "decision": "independent",
    "actions": ["block", "allow"],
    "default_action": "allow",
    "unclassified_action": "block",
    "act_action": "block",
    "contrast": ["a picture"],
    "labels": [{"name": "bird", "prompts": ["a bird"], "act_threshold": 0.5}],
}
ROUTES = (
    RoutePolicy(
        key="asked*", label_sets=("chaos",), allowed_label_sets=("chaos", "strict"),
        allowed_tenants=("gal*",),
    ),
    RoutePolicy(label_sets=("chaos", "strict"), tenant="house", allowed_tenants=("gallery",)),
)  # fmt: skip


class ExactEncoder(MemoryEncoder):
    """Vectors of halves, which any order of summation multiplies without rounding."""

    def __init__(self) -> None:
        super().__init__(dimension=4, crop=8)

    @property
    def model(self) -> ModelIdentity:
        return replace(super().model, logit_scale=10_000.0)

    def _vectors(self, contents: Sequence[bytes]) -> Vector:
        bits = [[zlib.crc32(content) >> place & 1 for place in range(4)] for content in contents]
        return np.array(bits, np.float32) - np.float32(0.5)


class OddStages(FakeStages):
    """Some files are damaged or no images."""

    async def decode(
        self,
        body: bytes,
        geometry: ImageGeometry,
        content_encoding: str | None = None,
        level: int = 0,
    ) -> DecodedImage:
        if body == b"broken.jpg":
            raise Reject("decode.corrupt", "decode: broken")
        if body == b"letter.pdf":
            raise Reject("decode.unsupported_format", "decode: a PDF", format="PDF")
        return await super().decode(body, geometry, content_encoding, level)


def published() -> tuple[list[OutputRecord], PrometheusMeter]:
    """What a worker on a broker in memory makes of the records."""
    encoder = ExactEncoder()
    label_sets = [parse_label_set(LABEL_SET), parse_label_set(STRICT_SET)]
    versions = {label_set.name: label_set.version for label_set in label_sets}
    rules = Rules(
        Router(ROUTES, list(versions)),
        compile_label_sets(label_sets, encoder.encode_texts, encoder.model),
        versions,
    )
    flow = flow_of(OddStages(nowhere), encoder, Unbatched(encoder))
    broker = MemoryBroker(MAX_MESSAGE_BYTES)
    broker.create_topic(TOPIC, 1)
    partition = Partition(TOPIC, 0)
    records = json.loads(RECORDS.read_text())
    for record in records:
        broker.produce(
            partition,
            _bytes(record["value"]),
            key=None if record["key"] is None else record["key"].encode(),
            headers=tuple((n, None if v is None else v.encode()) for n, v in record["headers"]),
            timestamp_ms=record["timestamp_ms"],
        )
    with running(broker, flow=flow, rules=rules, order="partition") as worker:
        eventually(lambda: committed(broker) == len(records))
    return broker.published, worker.meter


def events(records: Sequence[OutputRecord]) -> list[Any]:
    """The records as JSON that says every byte of them."""
    return [
        {
            "topic": record.topic.value,
            "key": None if record.key is None else record.key.decode(),
            "headers": [[name, _readable(value)] for name, value in record.headers],
            "value": _readable(record.value),
        }
        for record in records
    ]


def metrics(meter: PrometheusMeter) -> dict[str, Any]:
    """Names, types, help and labels of what is exposed, and no value."""
    return {
        family.name: {
            "type": family.type,
            "help": family.documentation,
            "labels": sorted({label for sample in family.samples for label in sample.labels}),
        }
        for family in meter.registry.collect()
    }


def _bytes(value: dict[str, str] | None) -> bytes | None:
    if value is None:
        return None
    return base64.b64decode(value["base64"]) if "base64" in value else value["text"].encode()


def _readable(value: bytes) -> dict[str, str]:
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    outcomes, of_worker = published()
    _write(EVENTS, events(outcomes))
    _write(METRICS, metrics(of_worker))
