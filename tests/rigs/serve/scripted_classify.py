"""Stands for ``POST /v1/classify`` with a form until the route reads one."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pipeline.errors import Reject
from pipeline.labels.parsing import parse_label_set
from pipeline.labels.scoring import CompiledLabelSets
from workers.serve.caller import ANYBODY, Admitted
from workers.serve.images import Inline
from workers.serve.services import Services


async def classified(request: Request, services: Services) -> Response:
    async with request.form() as form:
        upload: Any = form["image"]
        body: bytes = await upload.read()
    admitted = Admitted(ANYBODY, "r", services.memory.hold())
    try:
        seen = await services.images.seen(Inline(body), admitted)
    except Reject as reject:
        image: dict[str, Any] = {
            "index": 0,
            "error": {"code": reject.code, "message": reject.message},
        }
        return JSONResponse({"model": {}, "images": [image]})
    if "labels" in form:
        given: dict[str, Any] = {
            name: json.loads(str(form[name]))
            for name in ("labels", "templates", "contrast")
            if name in form
        }
        given["labels"] = [{"name": name, "phrases": [name]} for name in given["labels"]]
        given.setdefault("templates", ["a photo of a {}"])
        label_set = parse_label_set(
            {
                "name": "request",
                "decision": form["decision"],
                "actions": ["act", "review", "none"],
                "default_action": "none",
            }
            | given
        )
        scoring = CompiledLabelSets([await services.prompts.compiled(label_set, "labels")])
        names = ["request"]
    else:
        scoring, names = services.rules().scoring, [str(form["label_set"])]
    results = scoring.score(names, seen.looked.embedding)
    facts = seen.looked.image
    image = {
        "index": 0,
        "sha256": seen.looked.sha256,
        "results": [
            {
                "label_set": each.label_set,
                "version": each.version,
                "decision": each.decision,
                "matched": [*each.matched],
                "scores": [
                    {"label": one.label, "score": one.score, "similarity": one.similarity}
                    for one in each.scores
                ],
            }
            for each in results
        ],
        "image": {
            "format": facts.format,
            "width": facts.width,
            "height": facts.height,
            "frames": facts.frames,
            "cropped_share": facts.cropped_share,
            "size_bytes": seen.looked.size_bytes,
        },
    }
    return JSONResponse({"model": {"name": services.model.name}, "images": [image]})
