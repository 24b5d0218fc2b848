"""Dead letters and the status."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import expect

from tests.rigs.serve.browser import PHONE, Visit, Visits
from tests.rigs.serve.outcomes import letters_of, photo, surveyed
from tests.rigs.serve.scripted_api import ScriptedApi, refusal
from tests.rigs.waiting import eventually

pytestmark = [pytest.mark.component]

NOW = 1_790_000_000.0


@pytest.fixture
def letters(api: ScriptedApi) -> ScriptedApi:
    for index in range(2):
        api.images[f"uploads/2026/11/{4800 + index:05}.jpg"] = photo("red star", index)
    api.letters = surveyed(
        letters_of("fetch.not_found", 1204, 2, NOW),
        letters_of("decode.truncated", 311, 2, NOW),
        letters_of("publish.too_large", 2, 2, NOW),
        since=NOW - 86_400,
    )
    return api


def test_codes_stand_with_their_counts_meaning_remedy_and_samples(
    visitor: Visit, letters: ScriptedApi
) -> None:
    page = visitor.open("dead-letters")
    expect(
        page.get_by_text("All 1,517 dead letters of the last 24 hours were read.")
    ).to_be_visible()
    card = page.locator('[data-code="decode.truncated"]')
    expect(card).to_contain_text("311")
    expect(card).to_contain_text("the file ends before its image does")
    expect(card).to_contain_text("What to do:")
    card.locator("summary").click()
    expect(card.locator(".samples li")).to_have_count(2)
    other = page.locator('[data-code="publish.too_large"]')
    other.locator("summary").click()
    expect(other.locator(".samples img").first).to_be_visible()


def test_a_replay_is_shown_first_and_sent_after_its_number_is_typed(
    visitor: Visit, letters: ScriptedApi
) -> None:
    letters.replay = {
        "would_send": 1204,
        "skipped": {"replayed too often": 17},
        "topics": {"references": 1204},
        "token": "t-9",
    }
    page = visitor.open("dead-letters")
    preview = page.get_by_role("button", name="Preview replay")
    expect(preview).to_be_disabled()
    page.get_by_label("Choose fetch.not_found for a replay").check()
    preview.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("references")
    expect(dialog).to_contain_text("17 · replayed too often")
    send = dialog.get_by_role("button", name="Send 1,204 references")
    expect(send).to_be_disabled()
    dialog.get_by_label("Type 1,204 to go on").fill("1204")
    (shown,) = letters.asked_of("/v1/dead-letters/replay")
    assert shown.body == {"codes": ["fetch.not_found"], "since": NOW - 86_400, "publish": False}
    send.click()
    expect(page.get_by_text("1,204 references sent to the stream")).to_be_visible()
    sent = letters.asked_of("/v1/dead-letters/replay")[-1]
    assert sent.body == shown.body | {"publish": True, "token": "t-9"}


def test_a_replay_that_is_not_confirmed_sends_nothing(visitor: Visit, letters: ScriptedApi) -> None:
    letters.replay |= {"would_send": 3, "topics": {"references": 3}}
    page = visitor.open("dead-letters")
    page.get_by_label("Choose decode.truncated for a replay").check()
    page.get_by_role("button", name="Preview replay").click()
    expect(page.get_by_role("button", name="Send 3 references")).to_be_enabled()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert [each.body["publish"] for each in letters.asked_of("/v1/dead-letters/replay")] == [False]


def test_only_keys_that_may_are_offered_a_replay(visitor: Visit, letters: ScriptedApi) -> None:
    letters.scopes = ("classify", "dead-letters")
    page = visitor.open("dead-letters")
    expect(page.locator(".code-card")).to_have_count(3)
    assert page.get_by_role("checkbox").count() == 0
    assert page.get_by_role("button", name="Preview replay").count() == 0


def test_a_stream_that_cannot_be_read_says_why(visitor: Visit, letters: ScriptedApi) -> None:
    letters.refusals["/v1/dead-letters"] = [
        refusal(503, "kafka.unreachable", "no broker answers at broker:9092")
    ]
    page = visitor.open("dead-letters")
    expect(page.get_by_role("alert")).to_contain_text("no broker answers at broker:9092")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".code-card")).to_have_count(3)
    visitor.expect("503")


def test_no_dead_letters_is_good_news(visitor: Visit) -> None:
    page = visitor.open("dead-letters")
    expect(page.get_by_text("No dead letters")).to_be_visible()


def test_the_status_refreshes_by_itself_and_keeps_the_last_answer(
    visitor: Visit, api: ScriptedApi
) -> None:
    replica = {
        "id": "api-1",
        "node": "gpu-1",
        "device": "cuda:0",
        "state": "ready",
        "why": None,
        "in_flight": 7,
        "queue": 3,
        "images": 182_044,
    }
    counts = {"committed": 12, "lag": 4}
    worker = {"slot": 0, "state": "running", "device": "torch-cuda", "driver": "d", **counts}
    api.status |= {
        "label_sets": [
            {"name": "shapes", "version": "sha256:0123456789abcdef", "changed_at": None}
        ],
        "replicas": [replica],
        "workers": [worker],
    }
    page = visitor.open("status")
    expect(page.get_by_role("row", name="torch-cuda")).to_contain_text("running")
    row = page.get_by_role("row", name="api-1")
    expect(row).to_contain_text("ready")
    expect(row).to_contain_text("182,044")
    expect(page.get_by_text("0123456789", exact=True)).to_be_visible()
    api.status["replicas"] = [replica | {"state": "failed", "why": "cuda.lost"}]
    expect(row).to_contain_text("failed")
    expect(row).to_contain_text("cuda.lost")
    api.refusals["/v1/status"] = 50 * [refusal(503, "draining", "the server ends")]
    expect(page.get_by_text("no answer; shown is the last one")).to_be_visible()
    expect(row).to_contain_text("failed")
    visitor.expect("503")


def test_tables_and_letters_fit_a_phone(visits: Visits, letters: ScriptedApi) -> None:
    replica = {"id": "x" * 60, "node": "n" * 60, "device": "cuda:0", "state": "ready", "why": None}
    letters.status |= {"replicas": [replica]}
    visitor = visits(size=PHONE, has_touch=True)
    for view in ("status", "dead-letters"):
        page = visitor.open(view)
        expect(page.locator("main .panel:visible").first).to_be_visible()
        window, content = visitor.width()
        assert content <= window, view


def test_time_goes_on_while_the_page_is_open(visitor: Visit, api: ScriptedApi) -> None:
    api.status |= {
        "label_sets": [{"name": "shapes", "version": "sha256:0", "changed_at": time.time() - 7200}]
    }
    page = visitor.open("status")
    expect(page.get_by_text("2 h ago")).to_be_visible()
    eventually(lambda: len(api.asked_of("/v1/status")) > 1)
