"""Outcomes and dead letters as the console's API tells them, with drawings as their images."""

from __future__ import annotations

import io
import time
from typing import Any

import httpx2
import numpy as np

from pipeline.errors import CODES
from tests.rigs.serve.scripted_api import ScriptedApi
from workers.demo.shapes import shape_image

Json = dict[str, Any]

BUCKET = "photos"


def photo(label: str, seed: int) -> bytes:
    """A JPEG of a shape at a random size, as a stream would have it."""
    file = io.BytesIO()
    shape_image(np.random.default_rng(seed), label, (240, 640)).save(file, "JPEG", quality=85)
    return file.getvalue()


def place(key: str) -> Json:
    return {"bucket": BUCKET, "key": key, "version_id": None, "etag": None}


def outcome(key: str, *decisions: Json, at: float | None = None, **changed: Any) -> Json:
    """A classification without scores. A decision has ``label_set``, ``decision``, ``matched``."""
    return {
        "id": f"id-{key}",
        "kind": "classification",
        "at": time.time() if at is None else at,
        "subject": key,
        "uri": f"s3://{BUCKET}/{key}",
        "decisions": [*decisions],
        "code": None,
        "image": place(key),
        "event": {"id": f"id-{key}", "data": {"results": []}},
    } | changed


def decided(decision: str, *matched: str, label_set: str = "signals") -> Json:
    return {"label_set": label_set, "decision": decision, "matched": [*matched]}


def dead(key: str, code: str, at: float | None = None) -> Json:
    event = {"id": f"id-{key}", "data": {"bucket": BUCKET, "key": key}}
    return outcome(key, at=at, kind="dead_letter", code=code, image=None, event=event)


def classified(url: str, api: ScriptedApi, key: str, label: str, seed: int, at: float) -> Json:
    """The outcome of a drawing, with the scores that the server gives it."""
    body = photo(label, seed)
    api.images[key] = body
    with httpx2.Client(timeout=60) as client:
        answer = client.post(
            f"{url}/v1/classify",
            files={"image": (key, body, "image/jpeg")},
            data={"label_sets": "shapes,signals"},
        ).json()
    seen = answer["images"][0]
    kept = [
        {name: result[name] for name in ("label_set", "decision", "matched")}
        for result in seen["results"]
    ]
    data = {
        "reference": {"uri": f"s3://{BUCKET}/{key}", "bucket": BUCKET, "key": key},
        "image": seen["image"],
        "model": answer["model"],
        "results": seen["results"],
    }
    event = {
        "specversion": "1.0",
        "type": "clipstream.classification.v1",
        "source": "/clipstream/demo/clipstream/references",
        "id": f"id-{key}",
        "subject": key,
        "data": data,
    }
    return outcome(key, *kept, at=at, event=event)


def letters_of(code: str, count: int, samples: int, at: float) -> Json:
    """The dead letters of one code."""
    keys = [f"uploads/2026/11/{4800 + index:05}.jpg" for index in range(samples)]
    return {
        "code": code,
        "count": count,
        "meaning": CODES[code].meaning,
        "remedy": CODES[code].remedy,
        "newest_at": at,
        "samples": [
            {
                "id": f"{code}-{index}",
                "at": at - 70 * index,
                "subject": key,
                "uri": f"s3://{BUCKET}/{key}",
                "message": f"s3://{BUCKET}/{key}: {CODES[code].meaning}",
                "attempts": 1,
                "image": place(key),
            }
            for index, key in enumerate(keys)
        ],
    }


def surveyed(*codes: Json, since: float) -> Json:
    total = sum(each["count"] for each in codes)
    return {
        "looked_back": {
            "letters": total,
            "since": since,
            "whole": True,
            "bound": f"All {total:,} dead letters of the last 24 hours were read.",
        },
        "codes": [*codes],
    }
