"""What `clipstream doctor --nodes` finds on every node of the cluster before a worker runs
there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline.errors import Halt
from pipeline.ports import Check, CheckResult
from workers.cluster.resources import living_nodes
from workers.cluster.start import cluster_address, start_ray
from workers.node_checks import Finding, examine_node
from workers.settings.loading import Settings
from workers.settings.sent import SentSettings
from workers.supervise.node import Node

ANSWER_S = 120.0
"""Seconds for a node to check itself. Its process must start, and a model directory may be
large."""


class Report(NamedTuple):
    """The findings of a node, or why it did not answer."""

    node: Node
    findings: list[Finding]


def survey(settings: Settings) -> Iterator[Check]:
    """A check for each subject of each living node, and one for each subject that must be the same
    on all nodes.

    Raises:
        Halt, Retry: there is no cluster to join.
    """
    if cluster_address() is None:
        raise Halt(
            "ray.not_started",
            "RAY_ADDRESS is not set: without a cluster this machine is the only node; set it to "
            "the address of the cluster's head",
        )
    start_ray(os.cpu_count() or 1)
    try:
        reports = _reports(settings)
    finally:
        import ray

        ray.shutdown()
    for report in reports:
        for check in (finding.check for finding in report.findings):
            yield Check(f"{report.node}: {check.subject}", check.result, check.message)
    yield from differences(reports)


def differences(reports: list[Report]) -> Iterator[Check]:
    """A failed check for each subject whose content is not the same on all nodes that reported
    it."""
    told: dict[str, dict[str, list[str]]] = {}
    for report in reports:
        for finding in report.findings:
            if finding.content:
                nodes = told.setdefault(finding.check.subject, {})
                nodes.setdefault(finding.content, []).append(str(report.node))
    for subject, contents in told.items():
        if len(contents) > 1:
            by_content = "; ".join(
                f"{', '.join(nodes)}: {content}" for content, nodes in contents.items()
            )
            yield Check(
                f"all nodes: {subject}",
                CheckResult.FAILED,
                f"they are not the same: {by_content}; give every node the same",
            )


def _reports(settings: Settings) -> list[Report]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    alive = living_nodes()
    calls = [
        ray.remote(examine_node)
        .options(
            num_cpus=0,
            max_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
        )
        .remote(SentSettings.of(settings), room.gpus)
        for node, room in alive.items()
    ]
    ray.wait(calls, num_returns=len(calls), timeout=ANSWER_S)
    return [Report(node, _findings(call)) for node, call in zip(alive, calls, strict=True)]


def _findings(call: Any) -> list[Finding]:
    import ray

    try:
        findings: list[Finding] = ray.get(call, timeout=0)
    except ray.exceptions.GetTimeoutError:
        problem = f"no answer within {ANSWER_S:g} s; check the node's load and its Ray's logs"
    except Exception as error:  # noqa: BLE001 - an error of the node's own, of any class
        # The last line names the error. A node without Clipstream ends here.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        problem = f"{lines[-1]}; install the same Clipstream there as here"
    else:
        return findings
    return [Finding(Check("answer", CheckResult.FAILED, problem))]
