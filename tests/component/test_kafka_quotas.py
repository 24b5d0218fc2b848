"""A broker that throttles its client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kafka.errors import for_code
from kafka.protocol.admin import AlterClientQuotasRequest

from tests.rigs.services.kafka_deployment import Deployment, producer_of
from tests.rigs.waiting import eventually
from tests.rigs.workers.worker_of_deployment import classified, references, working

pytestmark = pytest.mark.component

SLOT = 7
"""No other test's, for a quota is a client's and the broker everybody's."""
WAVE, KEY_BYTES = 5, 600
"""A wave is a second or two of the quota, far less than what makes a commit expire."""


@contextmanager
def quota(deployment: Deployment, client_id: str, name: str, bytes_per_s: int) -> Iterator[None]:
    set_quota(deployment, client_id, name, bytes_per_s)
    try:
        yield
    finally:
        set_quota(deployment, client_id, name, None)


def set_quota(deployment: Deployment, client_id: str, name: str, bytes_per_s: int | None) -> None:
    # The administration client has no call for it.
    entry = AlterClientQuotasRequest.EntryData
    entity = entry.EntityData(entity_type="client-id", entity_name=client_id)
    change = entry.OpData(key=name, value=bytes_per_s or 0, remove=bytes_per_s is None)
    request = AlterClientQuotasRequest(
        entries=[entry(entity=[entity], ops=[change])], validate_only=False
    )
    client = deployment.admin.client
    answer = client._manager.run(client._send_request_to_controller, request)
    assert [for_code(each.error_code).__name__ for each in answer.entries] == ["NoError"]


def longest_throttle_ms(client: Any) -> float:
    """The longest wait that a broker has asked of the client."""
    longest: float = max(
        value
        for group in client.metrics().values()
        for name, value in group.items()
        if name == "throttle-time-max"
    )
    return longest


@pytest.mark.parametrize(
    ("name", "bytes_per_s"), [("consumer_byte_rate", 5000), ("producer_byte_rate", 6000)]
)
def test_a_worker_that_is_throttled_is_slower_and_nothing_else(
    kafka_bootstrap: str, name: str, bytes_per_s: int
) -> None:
    with Deployment(kafka_bootstrap, partitions=1) as deployment:
        client_id = f"clipstream-{deployment.member(SLOT).group_instance_id}"
        with (
            quota(deployment, client_id, name, bytes_per_s),
            working(deployment, SLOT) as worker,
        ):
            sent: list[str] = []

            def throttled() -> bool:
                wave = [f"{len(sent) + each:03}".ljust(KEY_BYTES, "x") for each in range(WAVE)]
                sent.extend(wave)
                deployment.produce(references(*wave))
                worker.has_committed(len(sent))
                clients = worker.stream._consumer, producer_of(worker.stream)
                return any(longest_throttle_ms(each) > 0 for each in clients)

            eventually(throttled)
            throttled()  # And again: it goes on.
            assert worker.failed_commits == 0
            eventually(lambda: worker.available)
        assert classified(deployment) == sent
