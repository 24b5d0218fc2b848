"""Each alert of monitoring/rules/stream.yaml fires once on the real stack, and ends with its fault.

All times of the rules are divided by sixty. ``record`` says what became of it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fault.alerts import broken_library
from tests.fault.alerts.stack import PARTITIONS, Stack
from tests.fault.alerts.watch import Watch
from tests.fault.s3_proxy import Fault
from tests.rigs.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

Watching = Callable[[], Watch]

CRASHES = 20
"""Images of each partition. Each crashes a decoder, and then a fresh one."""


def test_a_store_that_refuses_connections(here: Stack, watch: Watching) -> None:
    watching = watch()
    here.store.proxy.refuse()
    here.send(here.good(20))
    alert = watching.until_it_fires("ClipstreamStoreDown", "page")
    assert alert["labels"]["group"] == here.deployment.kafka.group
    assert alert["labels"]["store"] == "s3"
    here.heal()
    watching.until_it_is_resolved("ClipstreamStoreDown", "page")


def test_a_topic_with_poison(here: Stack, watch: Watching) -> None:
    bucket = here.store.bucket
    bucket.put("poison/cut-off", here.image[: len(here.image) // 2])
    bucket.put("poison/other.tiff", b"II*\0" + bytes(100))
    poison: list[bytes | None] = [
        bucket.reference("poison/cut-off"),
        bucket.reference("poison/other.tiff"),
        bucket.reference("poison/missing.png"),
        b"no JSON",
        None,
    ]
    watching = watch()
    with here.feeding([*poison, *here.good(10)]):
        alert = watching.until_it_fires("ClipstreamDeadLetters", "ticket", stage="decode")
    assert alert["labels"]["group"] == here.deployment.kafka.group
    with here.feeding(here.good(60)):
        watching.until_it_is_resolved("ClipstreamDeadLetters", "ticket")


@pytest.mark.on_demand("make alert-tests")
def test_a_broker_that_is_away_while_records_wait(here: Stack, watch: Watching) -> None:
    # Slow, so that there are records which the workers know of and have not classified.
    here.store.proxy.inject(Fault.LATENCY)
    here.send(here.good(600))
    eventually(lambda: here.lag() > 300)
    watching = watch()
    here.link.cut()
    alerts = {
        "ClipstreamNoProgress": "page",
        "ClipstreamWorkerStalled": "ticket",
        "ClipstreamImageStuck": "ticket",
        "ClipstreamCommitsFailing": "page",
    }
    for name, severity in alerts.items():
        watching.until_it_fires(name, severity)
    here.heal()
    for name, severity in alerts.items():
        watching.until_it_is_resolved(name, severity)


@pytest.mark.on_demand("make alert-tests")
def test_more_records_than_the_workers_can_do(here: Stack, watch: Watching) -> None:
    watching = watch()
    here.store.proxy.inject(Fault.LATENCY)
    with here.feeding(here.good(100)):
        watching.until_it_fires("ClipstreamLagGrowing", "ticket")
        # The objective of 30 s is not divided.
        for severity in ("page", "ticket"):
            watching.until_it_fires("ClipstreamLatencyBudgetBurning", severity)
    here.heal()
    here.until_all_is_committed()
    watching.until_it_is_resolved("ClipstreamLagGrowing", "ticket")
    for severity in ("page", "ticket"):
        watching.until_it_is_resolved("ClipstreamLatencyBudgetBurning", severity)


@pytest.mark.on_demand("make alert-tests")
def test_a_bucket_of_which_nothing_can_be_read(here: Stack, watch: Watching) -> None:
    watching = watch()
    here.send([here.empty.reference(f"never/{number}") for number in range(40)])
    watching.until_it_fires("ClipstreamFailureBudgetNear", "ticket")
    watching.until_it_is_resolved("ClipstreamFailureBudgetNear", "ticket")


@pytest.mark.on_demand("make alert-tests")
def test_a_worker_whose_libraries_fail(here: Stack, watch: Watching) -> None:
    bucket = here.store.bucket
    bucket.put(broken_library.UNREADABLE, here.image)
    bucket.put("crash", broken_library.CRASHING)
    sections = {"workers": {"count": 1}, "decode": {"processes": 4}}
    with here.driver("broken", sections, module=broken_library.__name__) as broken:
        broken.until_all_work()
        # Failures among few other outcomes would be held back.
        here.send(here.good(400))
        here.until_all_is_committed()
        watching = watch()
        # Its worker has one of the partitions.
        here.send([bucket.reference(broken_library.UNREADABLE)] * PARTITIONS + here.good(100))
        watching.until_it_fires("ClipstreamDefect", "ticket")
        crashing = watch()
        here.send([bucket.reference("crash")] * PARTITIONS * CRASHES)
        alert = crashing.until_it_fires("ClipstreamDecodersCrashing", "ticket")
        assert alert["labels"]["driver"] == "broken"
    watching.until_it_is_resolved("ClipstreamDefect", "ticket")
    crashing.until_it_is_resolved("ClipstreamDecodersCrashing", "ticket")
