"""Each alert of monitoring/rules/workers.yaml, but for the GPU's two, fires once on the real stack,
and ends with its fault.

All times of the rules are divided by sixty. ``record`` says what became of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.dev.certificates import AUTHORITY, certificate
from tests.fault.alerts.driver import Driver
from tests.fault.alerts.stack import SPARE_CPUS, WORKERS, Stack, kill
from tests.fault.alerts.watch import Watch
from workers.supervise.supervisor import ExitCode

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

Watching = Callable[[], Watch]

WINDOW = 100
"""Failures that spend a worker's budget."""


def test_a_label_set_that_is_no_yaml(here: Stack, watch: Watching) -> None:
    watching = watch()
    here.labels.write_text("labels: [")
    alert = watching.until_it_fires("ClipstreamLabelSetRefused", "ticket")
    assert alert["labels"]["group"] == here.deployment.kafka.group
    here.heal()
    watching.until_it_is_resolved("ClipstreamLabelSetRefused", "ticket")


def test_a_list_of_known_pictures_without_an_action(here: Stack, watch: Watching) -> None:
    watching = watch()
    here.known.write_text("name: leaked\nkind: sha256\nentries: known.txt\n")
    alert = watching.until_it_fires("ClipstreamKnownListRefused", "ticket")
    assert alert["labels"]["group"] == here.deployment.kafka.group
    here.heal()
    watching.until_it_is_resolved("ClipstreamKnownListRefused", "ticket")


def test_workers_that_are_killed(here: Stack, watch: Watching) -> None:
    watching = watch()
    kill(here.workers())
    watching.until_it_fires("ClipstreamWorkersRestarting", "ticket")
    watching.until_it_is_resolved("ClipstreamWorkersRestarting", "ticket")


@pytest.mark.on_demand("make alert-tests")
def test_a_broker_that_is_away(here: Stack, watch: Watching) -> None:
    watching = watch()
    here.link.cut()
    watching.until_it_fires("ClipstreamWorkersHeld", "page")
    here.heal()
    watching.until_it_is_resolved("ClipstreamWorkersHeld", "page")


@pytest.mark.on_demand("make alert-tests")
def test_workers_that_die_on_a_node_that_has_lost_its_model(here: Stack, watch: Watching) -> None:
    watching = watch()
    here.lose_model()
    kill(here.workers())
    empty = watching.until_it_fires("ClipstreamPlaceEmpty", "ticket")
    assert empty["labels"]["code"] == "model.not_found"
    watching.until_it_fires("ClipstreamWorkerMissing", "ticket")
    watching.until_it_fires("ClipstreamNoWorkers", "page")
    here.heal()
    watching.until_it_is_resolved("ClipstreamNoWorkers", "page")
    watching.until_it_is_resolved("ClipstreamWorkerMissing", "ticket")
    watching.until_it_is_resolved("ClipstreamPlaceEmpty", "ticket")


@pytest.mark.on_demand("make alert-tests")
def test_a_driver_that_halts(here: Stack, main: Driver, watch: Watching) -> None:
    missing = [f"late/{number}" for number in range(2 * WORKERS * WINDOW)]
    watching = watch()
    here.send([here.empty.reference(key) for key in missing])
    assert main.until_it_ends() == ExitCode.HALTED
    alert = watching.until_it_fires("ClipstreamDriverDown", "page")
    assert alert["labels"]["job"] == "clipstream-driver"
    for key in missing:
        here.empty.put(key, here.image)
    main.start()
    watching.until_it_is_resolved("ClipstreamDriverDown", "page")


@pytest.mark.on_demand("make alert-tests")
def test_a_second_driver_without_room_and_then_with_another_label_set(
    here: Stack, watch: Watching, tmp_path: Path
) -> None:
    watching = watch()
    too_much = {"count": 1, "cpus_per_worker": SPARE_CPUS + 1}
    with here.driver("second", {"workers": too_much}):
        watching.until_it_fires("ClipstreamWorkersWaiting", "ticket")

    other = tmp_path / "labels.yaml"
    text = here.labels.read_text()
    other.write_text(text.replace("a black star", "a star that is black"))
    assert other.read_text() != text
    differing = watch()
    with here.driver(
        "second", {"workers": {"count": 1}, "label_sets": {"paths": [other]}}
    ) as second:
        second.until_all_work()
        watching.until_it_is_resolved("ClipstreamWorkersWaiting", "ticket")
        alert = differing.until_it_fires("ClipstreamLabelSetsDiffer", "ticket")
        assert alert["labels"]["label_set"] == "shapes"
        other.write_text(text)
        differing.until_it_is_resolved("ClipstreamLabelSetsDiffer", "ticket")


@pytest.mark.on_demand("make alert-tests")
def test_images_that_are_no_longer_like_those_of_the_reference(
    here: Stack, watch: Watching, tmp_path: Path
) -> None:
    """Twenty images, and then one of them again and again. A new reference of these ends it."""
    reference = tmp_path / "reference.json"
    sections: dict[str, dict[str, Any]] = {
        "workers": {"count": 1},
        "label_sets": {"drift_reference": reference},
    }
    here.send(here.good(1200))
    here.until_all_is_committed()
    with here.driver("drifting", sections) as driver:
        driver.write_reference(reference)
        driver.until_all_work()
        watching = watch()
        with here.feeding(here.good(1) * 100):
            alert = watching.until_it_fires("ClipstreamScoresDrifted", "ticket")
            assert alert["labels"]["label_set"] == "shapes"
            driver.write_reference(reference, newest=1000)
            watching.until_it_is_resolved("ClipstreamScoresDrifted", "ticket")


@pytest.mark.on_demand("make alert-tests")
def test_a_certificate_that_expires_in_a_week(here: Stack, watch: Watching, tmp_path: Path) -> None:
    file = tmp_path / "authorities.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    file.write_bytes(certificate("ours", key, "ours", key, AUTHORITY, days=7))
    watching = watch()
    with here.driver("trusting", {"workers": {"count": 1}, "https": {"ca_file": file}}) as driver:
        alert = watching.until_it_fires("ClipstreamCertificateExpiring", "ticket")
        assert alert["labels"]["setting"] == "https.ca_file"
        driver.stop()
        file.write_bytes(certificate("ours", key, "ours", key, AUTHORITY, days=90))
        driver.start()
        watching.until_it_is_resolved("ClipstreamCertificateExpiring", "ticket")
