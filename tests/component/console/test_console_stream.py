"""The console beside a real Kafka and an S3 server: an outcome appears, a replay is sent."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Browser, expect

from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.policy import S3Policy
from tests.rigs.serve.application import served
from tests.rigs.serve.browser import visit
from tests.rigs.serve.listening import Listening, listening
from tests.rigs.serve.published import Worker
from tests.rigs.services.kafka_deployment import Deployment
from tests.rigs.stages.decoding import as_file, clouds
from workers.embedded.s3 import S3Server
from workers.settings.serve import ServePolicy

pytestmark = [pytest.mark.component]

BUCKET = "console-photos"


@pytest.fixture
def deployment(browser: Browser, kafka_bootstrap: str) -> Iterator[Deployment]:
    with Deployment(kafka_bootstrap) as deployment:
        yield deployment


@pytest.fixture
def listener(
    deployment: Deployment, moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Listening]:
    """A server that blurs images."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto_s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto_s3.secret_key)
    store = S3Policy(endpoint=moto_s3.endpoint, region="us-east-1", allowed_buckets=(BUCKET,))
    with closing(S3Admin(store)) as admin:
        admin.create_bucket(BUCKET)
        admin.put(BUCKET, "1.jpg", as_file(clouds(1, 800, 600), "JPEG"))
    settings = served(kafka=deployment.kafka, s3=store, serve=ServePolicy(blur=True))
    with listening(settings) as server:
        yield server


def test_an_outcome_appears_by_itself_is_revealed_and_a_dead_letter_is_replayed(
    browser: Browser,
    listener: Listening,
    deployment: Deployment,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "clipstream.audit")
    worker = Worker(deployment)
    with visit(browser, listener.url) as visitor:
        page = visitor.open("live")
        expect(page.get_by_text("connected", exact=True)).to_be_visible(timeout=60_000)
        worker.abort(worker.classified("aborted.jpg", BUCKET))
        worker.publish(worker.classified("1.jpg", BUCKET), worker.dead("gone.jpg"))
        card = page.locator(".outcome", has_text="1.jpg")
        expect(card.locator(".thumbnail.blurred img")).to_be_visible(timeout=60_000)
        expect(page.get_by_text("dead letter", exact=True).last).to_be_visible()
        expect(page.get_by_text("aborted.jpg")).to_have_count(0)
        card.get_by_role("button", name="Reveal").click()
        expect(card.locator(".thumbnail.blurred")).to_have_count(0)
        (revealed,) = [each.getMessage() for each in caplog.records if "reveal" in each.message]
        assert f"s3://{BUCKET}/1.jpg" in revealed
        card.locator(".name").click()
        shown = page.get_by_role("dialog")
        if shown.get_by_role("button", name="Whole event").count():
            shown.get_by_role("button", name="Whole event").click()
        event = json.loads(shown.locator("pre").inner_text())
        assert event["data"]["reference"]["uri"] == f"s3://{BUCKET}/1.jpg"
        page.keyboard.press("Escape")

        page.get_by_role("link", name="Dead letters").click()
        page.get_by_label("Choose fetch.not_found for a replay").check()
        page.get_by_role("button", name="Preview replay").click()
        expect(page.get_by_role("dialog")).to_contain_text(deployment.input)
        page.get_by_role("button", name="Send 1 reference").click()
        expect(page.get_by_text("1 reference sent to the stream")).to_be_visible(timeout=60_000)
