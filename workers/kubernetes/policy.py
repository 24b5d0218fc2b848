"""Which StatefulSet the driver's pod belongs to."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from pipeline.policy import Policy, Tier

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where Kubernetes mounts a service account's token by default."""


class KubernetesPolicy(Policy):
    """How a driver in a StatefulSet finds out when it stops whether its pod was scaled in. Its
    members then leave the group at once. Without these settings, every stop counts as a restart."""

    tier = Tier.TUNING

    statefulset: str | None = Field(
        None, description="Name of the StatefulSet. Unset: the driver never asks Kubernetes."
    )
    namespace: str | None = Field(None, description="Namespace of the StatefulSet.")
    pod: str | None = Field(
        None,
        description="Name of the driver's pod. The number at its end is its ordinal in the "
        "StatefulSet. Default: the host name.",
    )
    token_folder: str = Field(
        SERVICE_ACCOUNT,
        description="Folder with the files `token` (of a service account that may `get` the "
        "StatefulSet) and `ca.crt` (of the API server's authority).",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.statefulset is None) != (self.namespace is None):
            raise ValueError("kubernetes: set statefulset and namespace together")
        return self
