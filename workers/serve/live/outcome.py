"""An outcome of the stream, as a person sees it, and what a key may see of it.

Events of version 1 and 2 are read. A field that is missing or unknown is no reason to hide an
outcome from a key that may see everything. From any other key an outcome is hidden when what the
key's patterns are compared with is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pydantic_core import from_json

from pipeline.events.headers import ORIGINAL_PREFIX
from pipeline.records import JsonValue, Record
from workers.serve.caller import Caller

MOST_EVENT_BYTES = 256 * 1024
"""The data of a larger event are not shown."""

_KINDS: Mapping[str, Literal["classification", "dead_letter"]] = {
    "clipstream.classification": "classification",
    "clipstream.dead-letter": "dead_letter",
}
Object = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One published outcome.

    ``at`` is the time of publication in Unix seconds. ``place`` is bucket, key and scheme of the
    image, or the host and the path of its URL; None if the record could not be read. ``label_sets``
    are those that scored the image, or were to. ``image`` names the object for ``/v1/live/image``;
    None if it cannot be shown. ``event`` is the CloudEvent: its attributes, further headers and
    data.
    """

    id: str
    kind: Literal["classification", "dead_letter"]
    at: float
    subject: str
    uri: str | None
    place: tuple[str, str, str] | None
    tenant: str | None
    label_sets: tuple[str, ...]
    decisions: tuple[Object, ...]
    code: str | None
    message: str | None
    attempts: int
    image: Object | None
    event: Object

    def to_json(self) -> Object:
        """What the page gets."""
        return {
            "id": self.id,
            "kind": self.kind,
            "at": self.at,
            "subject": self.subject,
            "uri": self.uri,
            "decisions": [*self.decisions],
            "code": self.code,
            "image": self.image,
            "event": self.event,
        }

    def seen_by(self, caller: Caller) -> Outcome | None:
        """What the caller may see of the outcome. None: not that it exists."""
        if self.place is None:
            # Whose it is is not known.
            if (caller.objects, caller.tenants, caller.label_sets) != (None, None, None):
                return None
        elif not caller.may_see(*self.place):
            return None
        if not caller.may_see_tenant(self.tenant):
            return None
        seen = self if may_see_images(caller) else replace(self, image=None)
        if caller.label_sets is None:
            return seen
        allowed = tuple(name for name in self.label_sets if caller.may_use(name))
        if not allowed:
            return None
        if len(allowed) == len(self.label_sets):
            return seen
        return replace(
            seen,
            label_sets=allowed,
            decisions=tuple(each for each in self.decisions if each["label_set"] in allowed),
            event=self.event | {"data": _with_label_sets(self.event.get("data"), allowed)},
        )


def may_see_images(caller: Caller) -> bool:
    """Whether the caller may see images of its outcomes at all. An object does not say which tenant
    it belongs to, so the key of a tenant sees images only by patterns of its own."""
    return caller.tenants is None or caller.objects is not None


def outcome_of(record: Record) -> Outcome | None:
    """The outcome that a record of an output topic tells. None for a record of another kind."""
    headers = {
        name: (value or b"").decode(errors="replace")
        for name, value in record.headers
        if not name.startswith(ORIGINAL_PREFIX)
    }
    kind = _KINDS.get(headers.get("ce_type", "").rpartition(".")[0])
    if kind is None:
        return None
    data = _data(record, headers)
    of_letter = kind == "dead_letter"
    reference = data if of_letter else _object(data, "reference")
    uri = _text(reference, "uri")
    bucket, key = _text(reference, "bucket"), _text(reference, "key")
    stored = bucket is not None and key is not None
    if uri is None and stored:
        uri = f"s3://{bucket}/{key}"
    # It may hold a signature. The dead letter keeps it for a replay, and nobody needs to see it.
    data.pop("query", None)
    results = [each for each in _list(data, "results") if isinstance(each, dict)]
    asked_for = _list(data, "label_sets") if of_letter else [_text(e, "label_set") for e in results]
    read = reference if of_letter else _object(data, "object")
    return Outcome(
        id=headers.get("ce_id", str(record.position)),
        kind=kind,
        at=record.timestamp_ms / 1000,
        subject=headers.get("ce_subject", ""),
        uri=uri,
        place=_place(uri),
        tenant=_text(reference, "tenant"),
        label_sets=tuple(name for name in asked_for if isinstance(name, str)),
        decisions=tuple(
            {name: each.get(name) for name in ("label_set", "decision", "matched")}
            for each in results
            if each.get("shadow") is not True
        ),
        code=headers.get("dlq.code"),
        message=headers.get("dlq.message"),
        attempts=_number(headers.get("dlq.attempts")),
        image={
            "bucket": bucket,
            "key": key,
            "version_id": _text(read, "version_id"),
            "etag": _text(read, "etag"),
        }
        if stored
        else None,
        event=_event(headers, data),
    )


def _data(record: Record, headers: Mapping[str, str]) -> Object:
    """The event's data, if they are a JSON object of a size that a person may look at."""
    value = record.value or b""
    # The raw bytes of a record that could not be read are no reference, even if they are JSON.
    if headers.get("dlq.payload", "reference") != "reference" or len(value) > MOST_EVENT_BYTES:
        return {}
    try:
        data = from_json(value, allow_inf_nan=False)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _event(headers: Mapping[str, str], data: Object) -> Object:
    attributes: Object = {
        name.removeprefix("ce_"): value for name, value in headers.items() if name.startswith("ce_")
    }
    others: Object = {name: value for name, value in headers.items() if not name.startswith("ce_")}
    return attributes | {"headers": others, "data": data}


def _with_label_sets(data: JsonValue, allowed: tuple[str, ...]) -> JsonValue:
    """The data without other label sets, and without what their sender asked for."""
    if not isinstance(data, dict):
        return None
    kept = {name: value for name, value in data.items() if name != "asked"}
    if "label_sets" in kept:
        kept["label_sets"] = [*allowed]
    if "results" in kept:
        kept["results"] = [
            each
            for each in _list(data, "results")
            if isinstance(each, dict) and each.get("label_set") in allowed
        ]
    return kept


def _place(uri: str | None) -> tuple[str, str, str] | None:
    """Bucket, key and scheme of a URI, as ``pipeline.records.ImageRef`` has them."""
    if uri is None:
        return None
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    return bucket, key, scheme


def _text(data: Mapping[str, JsonValue], name: str) -> str | None:
    value = data.get(name)
    return value if isinstance(value, str) else None


def _object(data: Object, name: str) -> Object:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _list(data: Object, name: str) -> list[JsonValue]:
    value = data.get(name)
    return value if isinstance(value, list) else []


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0
