"""Whether the stream worker makes traces, and the check that it can."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping

from pydantic import Field

from pipeline.errors import Halt
from pipeline.policy import Policy, Tier

PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")

_KNOWN = (
    (("OTEL_TRACES_EXPORTER",), "otlp"),
    (("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf"),
)
"""Standard variables, of which the first that is set counts, and the one value that is known. It is
the default."""


class TracingPolicy(Policy):
    """Traces of images in OpenTelemetry's form. Its own variables say where they go and how many
    there are: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, and others."""

    tier = Tier.EVERYDAY

    enabled: bool = Field(
        False,
        description="Whether stream workers make traces. Needs `clipstream[tracing]`. "
        "OpenTelemetry's variables alone turn nothing on, because platforms set them for every "
        "pod.",
    )


def require_tracing(policy: TracingPolicy, environment: Mapping[str, str] = os.environ) -> None:
    """Check what traces need, if they are on.

    Raises:
        Halt: ``tracing.packages_missing``, or ``tracing.invalid``: a variable asks for another
            exporter.
    """
    if not policy.enabled:
        return
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise Halt(
                "tracing.packages_missing",
                f"tracing.enabled: a package is missing ({error}); install clipstream[tracing], "
                "or turn tracing off",
            ) from error
    for names, known in _KNOWN:
        variable = next((name for name in names if environment.get(name)), None)
        if variable is not None and environment[variable] != known:
            raise Halt(
                "tracing.invalid",
                f"tracing.enabled: {variable} is {environment[variable]} and not {known}; write "
                f"{variable}={known}, and send through an OpenTelemetry collector",
            )
