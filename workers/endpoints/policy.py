"""Where metrics and health are served."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.policy import Policy, Tier

EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - recognised here, not bound
"""Values of ``host`` that listen on every address of the machine."""


class EndpointsPolicy(Policy):
    """Where metrics and health are served."""

    tier = Tier.EVERYDAY

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. Use 0.0.0.0 inside a pod, and wherever the driver "
        "must reach workers on other machines.",
    )
    health_port: int = Field(
        8080,
        description="Port of the driver's /healthz, /readyz, /metrics, /metrics/all and /targets. "
        "0: any free port.",
        ge=0,
        le=65535,
    )
    metrics_port: int = Field(
        9400,
        description="Port of worker 0's metrics. Worker n listens n ports above. 0: any free "
        "ports; the discovery file names them.",
        ge=0,
        le=65535,
    )
    discovery_file: Annotated[str | None, Tier.TUNING] = Field(
        None,
        description="File that lists the workers' metrics endpoints for Prometheus' "
        "file_sd_configs. Each host needs one file, which all drivers on the host can share.",
    )
