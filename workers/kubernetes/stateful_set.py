"""Whether a pod that stops comes back. A restart, an eviction and an upgrade bring a pod of that
name back; a scale-in does not."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workers.kubernetes.api import Unanswered, stateful_set
from workers.kubernetes.policy import KubernetesPolicy

log = logging.getLogger(__name__)

_ORDINAL = re.compile(r".*-(\d+)")


def is_scaled_in(pod: str, wanted: Mapping[str, Any]) -> bool:
    """Whether a StatefulSet (its object in the API) wants no pod of this name any more.

    Raises:
        ValueError: the object does not say, or the name has no ordinal.
    """
    found = _ORDINAL.fullmatch(pod)
    if found is None:
        raise ValueError(f"{pod} has no number at its end, as pods of a StatefulSet have")
    spec = wanted.get("spec")
    replicas = spec.get("replicas") if isinstance(spec, dict) else None
    ordinals = spec.get("ordinals") if isinstance(spec, dict) else None
    start = ordinals.get("start", 0) if isinstance(ordinals, dict) else 0
    if type(replicas) is not int or type(start) is not int:
        raise ValueError("the StatefulSet does not say how many replicas it wants")
    return not start <= int(found[1]) < start + replicas


def was_scaled_in(policy: KubernetesPolicy) -> bool:
    """Ask Kubernetes, and log the answer. Blocks for some seconds at most. False if it is not
    known: a restart that was taken for a scale-in would move partitions twice, and a scale-in that
    was taken for a restart leaves them unread until the session timeout."""
    if policy.statefulset is None or policy.namespace is None:
        return False
    pod = policy.pod or socket.gethostname()
    name = f"{policy.namespace}/{policy.statefulset}"
    try:
        found = stateful_set(policy.namespace, policy.statefulset, Path(policy.token_folder))
        gone = is_scaled_in(pod, found)
    except (Unanswered, ValueError) as error:
        log.warning(
            "kubernetes: it is not known whether StatefulSet %s still wants pod %s: %s; this stop "
            "counts as a restart",
            name,
            pod,
            error,
        )
        return False
    log.info(
        "kubernetes: StatefulSet %s wants pod %s %s",
        name,
        pod,
        "no more: its members leave the group" if gone else "back: its members stay in the group",
    )
    return gone
