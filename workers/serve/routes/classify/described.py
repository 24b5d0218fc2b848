"""``POST /v1/classify`` in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from workers.serve.openapi import PIXEL, errors, schema_of
from workers.serve.routes.classify.answer import Answer
from workers.serve.routes.classify.asked import Asked, Options

SUMMARY = "Classify images"

DESCRIPTION = """Scores one image or several with label sets of the server, or with labels of the
request. An image is bytes in the body, base64, or an address that the server may read.

Each image is answered by itself, in the order of the request: with its scores, or with an `error`
whose code says why it could not be looked at. The status is 200 as soon as one image was looked at.
"""

_JSON_EXAMPLES: dict[str, Any] = {
    "labels": {
        "summary": "One image, labels of the request",
        "value": {"image": PIXEL, "labels": ["cat", "dog", "car"]},
    },
    "label set": {
        "summary": "Several images, the server's default label set",
        "value": {"images": [PIXEL, {"image": PIXEL, "id": "the same"}]},
    },
    "independent": {
        "summary": "Labels that may be right or wrong each by itself",
        "value": {
            "image": PIXEL,
            "labels": [{"name": "smoke", "prompts": ["smoke rising from a building"]}],
            "contrast": ["a photo of an ordinary street"],
            "decision": "independent",
            "review_threshold": 0.8,
            "embedding": "base64",
        },
    },
}

_ANSWER_EXAMPLE: dict[str, Any] = {
    "request_id": "0c0c6a6a1d0c4f6f9f3b1a5f3f3c2b1a",
    "created": 1790000000,
    "model": {
        "name": "openai/clip-vit-base-patch32",
        "revision": "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        "dimension": 512,
        "logit_scale": 100.0,
        "precision": "fp32",
        "engine": "torch-cpu",
        "embedding_dtype": "float32",
    },
    "images": [
        {
            "index": 0,
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "results": [
                {
                    "label_set": "labels",
                    "version": "sha256:"
                    "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
                    "decision": "none",
                    "matched": [],
                    "scores": [
                        {"label": "cat", "score": 0.97, "similarity": 0.28},
                        {"label": "dog", "score": 0.03, "similarity": 0.245},
                    ],
                }
            ],
            "image": {
                "format": "JPEG",
                "width": 640,
                "height": 480,
                "frames": 1,
                "cropped_share": 0.25,
                "size_bytes": 76800,
            },
        },
        {
            "index": 1,
            "error": {"code": "fetch.not_found", "message": "s3: the store answered 404 NoSuchKey"},
        },
    ],
    "usage": {"images": 1, "image_bytes": 76800},
}


def _form_schema() -> dict[str, Any]:
    """A form: the options of JSON as texts, and images as files."""
    image = {"type": "string", "format": "binary", "description": "An image's file."}
    properties = {
        "image": image,
        "images": {"type": "array", "items": image, "description": "Several images' files."},
    }
    return {"type": "object", "properties": {**properties, **_texts()}}


def _texts() -> dict[str, Any]:
    """The options as texts of a query or a form."""
    options = schema_of(Options)["properties"]
    lists = ("label_sets", "labels", "templates", "contrast")
    return {
        name: {
            "type": "string",
            "description": option["description"]
            + (" As JSON, or separated by commas." if name in lists else ""),
        }
        for name, option in options.items()
    }


RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Answer,
        "description": "At least one image was looked at.",
        "content": {"application/json": {"example": _ANSWER_EXAMPLE}},
    },
    **errors(400, 401, 403, 404, 413, 415, 429, 500, 503),
}


def described() -> dict[str, Any]:
    """What FastAPI cannot know, because the route reads its body and query itself."""
    raw = {"schema": {"type": "string", "format": "binary"}}
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": schema.pop("description"),
                "schema": schema,
            }
            for name, schema in _texts().items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema_of(Asked), "examples": _JSON_EXAMPLES},
                "multipart/form-data": {"schema": _form_schema()},
                "image/*": raw,
                "application/octet-stream": raw,
            },
        },
    }
