"""What is told of each request when it ends: metrics, and a line of the access log.

Neither tells a body, a query, a key's secret or an address. An address can be forged.
"""

from __future__ import annotations

import logging

from pipeline.metrics import (
    HTTP_IMAGE_BYTES,
    HTTP_IMAGE_OUTCOMES,
    HTTP_IMAGES,
    HTTP_IN_FLIGHT,
    HTTP_REFUSALS,
    HTTP_REQUEST_SECONDS,
    HTTP_REQUESTS,
)
from pipeline.ports import Clock, Meter
from workers.serve.admission.asgi import Message
from workers.serve.admission.families import Family
from workers.serve.caller import Admitted

log = logging.getLogger("clipstream.access")

GONE = 499
"""Status of a request whose client did not wait for the answer."""


class Access:
    """Tells of requests. Belongs to one event loop."""

    def __init__(self, clock: Clock, meter: Meter) -> None:
        self._clock = clock
        self._meter = meter
        self.in_flight = 0

    def begin(self) -> float:
        """A request has arrived. Returns the time, for ``end``."""
        self.in_flight += 1
        self._meter.set(HTTP_IN_FLIGHT, self.in_flight)
        return self._clock.monotonic()

    def refused(self, code: str) -> None:
        """A request was refused before its route saw it."""
        self._meter.add(HTTP_REFUSALS, reason=code)

    def end(
        self,
        scope: Message,
        family: Family,
        admitted: Admitted,
        status: int,
        began_s: float,
    ) -> None:
        """A request was answered."""
        meter, seconds = self._meter, self._clock.monotonic() - began_s
        self.in_flight -= 1
        meter.set(HTTP_IN_FLIGHT, self.in_flight)
        route = getattr(scope.get("route"), "path", family.label)
        name = admitted.caller.name
        meter.add(HTTP_REQUESTS, route=route, status=str(status), key=name)
        meter.observe(HTTP_REQUEST_SECONDS, seconds, route=route)
        if admitted.images:
            meter.add(HTTP_IMAGES, admitted.images, key=name)
        if admitted.image_bytes:
            meter.add(HTTP_IMAGE_BYTES, admitted.image_bytes, key=name)
        for outcome, images in admitted.outcomes.items():
            meter.add(HTTP_IMAGE_OUTCOMES, images, outcome=outcome)
        level = logging.DEBUG if family.public else logging.INFO
        if log.isEnabledFor(level):
            log.log(
                level,
                "%s %s %d key=%s images=%d bytes=%d ms=%.1f",
                scope["method"],
                route,
                status,
                admitted.caller.told,
                admitted.images,
                admitted.image_bytes,
                seconds * 1000,
            )
