"""Each alert of the HTTP server fires for a real fault, and ends with it.

One `clipstream serve` with keys, the demo's model and a real S3 server; a real Prometheus scrapes
the driver, with the rules at a sixtieth of their times.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.dev import versitygw
from deploy.dev.monitoring import promtool
from tests.fault.alerts.clients import Pace, clients
from tests.fault.alerts.pictures import keep_pictures
from tests.fault.alerts.record import Record
from tests.fault.alerts.scraping import NAMESPACE, scraping
from tests.fault.alerts.watch import Watch
from tests.fault.s3_rig import Bucket
from tests.rigs.root import ROOT
from tests.rigs.serve.on_ray import ANSWER_S, PNG, Answer, ServedOnRay, ask, served_on_ray
from tests.rigs.services.prometheus import Prometheus
from tests.rigs.waiting import eventually
from workers.embedded.processes import LOOPBACK, command_environment
from workers.embedded.s3 import S3Server

pytestmark = [pytest.mark.e2e, pytest.mark.on_demand("make alert-tests"), pytest.mark.timeout(900)]

DEMO = ROOT / "workers" / "demo"

STEADY = Pace(clients=2, pause_s=0.2)
OVERLOAD = Pace(clients=8)
IMAGES = 32
"""Images of one request. Eight such requests are four times what a replica on processors takes."""
SLOW_S = 6.0
"""The objective is 5 s."""
SLOW = Pace(clients=8, apart_s=SLOW_S / 8)
GUESSES = Pace(clients=1, pause_s=0.2)


@dataclass(frozen=True)
class Site:
    server: ServedOnRay
    prometheus: Prometheus
    store: S3Server
    bucket: Bucket
    keys: Path
    key: str

    def classify(self, *images: str) -> Answer:
        body = json.dumps({"images": list(images)})
        return ask(self.server.port, body=body, headers=self.headers("application/json"))

    def headers(self, content_type: str = "image/png") -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}", "content-type": content_type}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if not promtool.available():
        pytest.skip(promtool.WHAT_IT_NEEDS)
    if not versitygw.available():
        pytest.skip(f"{versitygw.WHAT_IT_NEEDS}; install Go, then: python deploy/dev/versitygw.py")
    folder = tmp_path_factory.mktemp("http-alerts")
    keys = folder / "keys"
    key = new_key("shop", keys)
    with contextlib.ExitStack() as owned:
        # A server of its own: it is killed.
        store = owned.enter_context(versitygw.VersityS3(folder / "s3"))
        environment = owned.enter_context(pytest.MonkeyPatch.context())
        environment.setenv("AWS_ACCESS_KEY_ID", store.access_key)
        environment.setenv("AWS_SECRET_ACCESS_KEY", store.secret_key)
        bucket = owned.enter_context(contextlib.closing(Bucket(store)))
        settings = {
            "serve": {"keys": str(keys), "keys_reload_interval_s": 0.5},
            "model": {"directory": str(DEMO / "model"), "device": "cpu"},
            "label_sets": {"paths": [str(DEMO / "labels.yaml")], "text_cache_dir": None},
            "s3": {
                "endpoint": store.endpoint,
                "region": store.region,
                "allowed_buckets": [bucket.name],
            },
            "fetch": {"deadline_s": 2.0},
        }
        server = owned.enter_context(served_on_ray(settings, as_typed=True)).wait_until_ready()
        prometheus = owned.enter_context(scraping(folder, server.health_port))
        began = time.monotonic()
        yield Site(server, prometheus, store, bucket, keys, key)
        keep_pictures(prometheus, began, "http")


def new_key(name: str, file: Path) -> str:
    """A key that `clipstream keys create` has put into the file."""
    printed = subprocess.run(
        [sys.executable, "-m", "workers.cli", "keys", "create", name, "--file", str(file)],
        env=command_environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (key,) = re.findall(r"\bcs_\S+", printed)
    return str(key)


@pytest.fixture
def watch(site: Site, record: Record) -> Watch:
    return Watch(site.prometheus, record)


def test_errors_fire_while_the_store_of_the_images_is_down(site: Site, record: Record) -> None:
    site.bucket.put("circle.png", PNG)
    image = f"s3://{site.bucket.name}/circle.png"
    with clients(lambda: site.classify(image), STEADY):
        eventually(lambda: site.classify(image).status == 200)
        watch = Watch(site.prometheus, record)
        site.store.kill()
        try:
            alert = watch.until_it_fires("ClipstreamHttpErrors", "page", namespace=NAMESPACE)
            assert site.classify(image).code.startswith("fetch.")
            assert "of the HTTP requests fail" in alert["annotations"]["summary"]
        finally:
            site.store.start()
        watch.until_it_is_resolved("ClipstreamHttpErrors", "page")


def test_shedding_fires_while_clients_send_more_than_a_replica_takes(
    site: Site, watch: Watch
) -> None:
    images = [base64.b64encode(PNG).decode()] * IMAGES
    with clients(lambda: site.classify(*images), OVERLOAD):
        watch.until_it_fires("ClipstreamHttpShedding", "ticket", namespace=NAMESPACE)
    watch.until_it_is_resolved("ClipstreamHttpShedding", "ticket")


def test_slow_fires_while_clients_send_their_bodies_slowly(site: Site, watch: Watch) -> None:
    with clients(lambda: send_slowly(site), SLOW):
        watch.until_it_fires(
            "ClipstreamHttpSlow", "ticket", namespace=NAMESPACE, route="/v1/classify"
        )
    watch.until_it_is_resolved("ClipstreamHttpSlow", "ticket")


def send_slowly(site: Site) -> None:
    """The last byte of the body comes late."""
    connection = http.client.HTTPConnection(LOOPBACK, site.server.port, timeout=ANSWER_S)
    with contextlib.closing(connection):
        connection.putrequest("POST", "/v1/classify")
        for name, value in (site.headers() | {"content-length": str(len(PNG))}).items():
            connection.putheader(name, value)
        connection.endheaders(PNG[:-1])
        time.sleep(SLOW_S)
        connection.send(PNG[-1:])
        assert connection.getresponse().status == 200


def test_keys_refused_fires_until_the_file_is_mended(site: Site, watch: Watch) -> None:
    good = site.keys.read_text()
    site.keys.write_text(good + "{\n")
    try:
        alert = watch.until_it_fires("ClipstreamHttpKeysRefused", "ticket", namespace=NAMESPACE)
        assert "of keys: 1." in alert["annotations"]["summary"]
        assert ask(site.server.port, headers=site.headers()).status == 200, "the keys before hold"
    finally:
        site.keys.write_text(good)
    watch.until_it_is_resolved("ClipstreamHttpKeysRefused", "ticket")


def test_key_guessing_fires_while_somebody_tries_keys(site: Site, watch: Watch) -> None:
    wrong = {"authorization": f"Bearer {site.key[:-1]}"}
    with clients(lambda: ask(site.server.port, headers=wrong), GUESSES):
        watch.until_it_fires("ClipstreamHttpKeyGuessing", "ticket", namespace=NAMESPACE)
    watch.until_it_is_resolved("ClipstreamHttpKeyGuessing", "ticket")


def test_no_replica_fires_while_the_only_replica_is_frozen(site: Site, watch: Watch) -> None:
    ((_, replica),) = site.server.replicas().values()
    os.kill(replica, signal.SIGSTOP)
    try:
        watch.until_it_fires("ClipstreamHttpNoReplica", "page", namespace=NAMESPACE)
    finally:
        os.kill(replica, signal.SIGCONT)
    watch.until_it_is_resolved("ClipstreamHttpNoReplica", "page")
