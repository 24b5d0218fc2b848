"""``POST /v1/classify``: images and label sets in; scores, decisions and facts out."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from workers.serve.caller import Admitted
from workers.serve.images import Inline
from workers.serve.records import Answered
from workers.serve.services import Services


def classify(services: Services) -> APIRouter:
    router = APIRouter(tags=["classify"])

    @router.post("/v1/classify", summary="Classify images")
    async def classify_images(request: Request) -> Response:
        admitted: Admitted = request.state.admitted
        rules = services.rules()
        with services.room.taken(1, admitted.caller):
            image = Inline(await request.body())
            seen = await services.images.seen(image, admitted)
        results = rules.scoring.score(tuple(rules.versions), seen.looked.embedding)
        if services.records is not None:
            answered = Answered(image, seen, results)
            await services.records.publish(admitted, "/v1/classify", [answered])
        return JSONResponse(
            {
                "results": [
                    {
                        "label_set": result.label_set,
                        "version": result.version,
                        "decision": result.decision,
                        "scores": {each.label: each.score for each in result.scores},
                    }
                    for result in results
                ]
            }
        )

    return router
