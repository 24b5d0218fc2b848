"""The live view: outcomes that arrive, filters, pause, images behind a blur."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.rigs.serve.browser import PHONE, Visit, Visits
from tests.rigs.serve.outcomes import dead, decided, outcome, photo
from tests.rigs.serve.scripted_api import ScriptedApi
from tests.rigs.waiting import eventually

pytestmark = [pytest.mark.component]

FOUR = (
    outcome("a.jpg", decided("block", "warm colour")),
    outcome("b.jpg", decided("allow"), decided("tag", "blue ring", label_set="shapes")),
    outcome("c.jpg", decided("review", "round")),
    dead("d.jpg", "fetch.not_found"),
)


def cards(page: Page) -> list[str]:
    return [
        text.get_attribute("data-id") or "" for text in page.locator(".outcome").element_handles()
    ]


def shows(page: Page, *keys: str) -> None:
    expect(page.locator(".outcome .name")).to_have_text([*keys])


def test_outcomes_appear_by_themselves_newest_first_with_their_images(
    visitor: Visit, api: ScriptedApi
) -> None:
    page = visitor.open("live")
    expect(page.get_by_text("No outcomes yet")).to_be_visible()
    api.images = {"a.jpg": photo("red star", 1), "b.jpg": photo("blue ring", 2)}
    api.key = None
    api.publish(FOUR[0])
    shows(page, "a.jpg")
    api.stats = {"rate": 2.5, "lag": 1200, "age_s": 0.4, "dropped": 3}
    api.publish(FOUR[1])
    shows(page, "b.jpg", "a.jpg")
    expect(page.locator(".outcome .badge").first).to_have_text("allow")
    expect(page.locator(".outcome .thumbnail img")).to_have_count(2)
    sources = [each.get_attribute("src") for each in page.locator(".thumbnail img").all()]
    assert all(source and source.startswith("blob:") for source in sources)
    for text in ("2.5", "1,200 records", "0.4 s ago"):
        expect(page.locator(".stats")).to_contain_text(text)


def test_images_are_fetched_with_the_key(visitor: Visit, api: ScriptedApi) -> None:
    api.key = "cs_right"
    api.images["a.jpg"] = photo("red star", 1)
    api.publish(FOUR[0])
    page = visitor.open("live")
    page.get_by_label("Key", exact=True).fill("cs_right")
    page.keyboard.press("Enter")
    expect(page.locator(".outcome .thumbnail img")).to_be_visible()
    (asked,) = api.asked_of("/v1/live/image")
    assert asked.headers["authorization"] == "Bearer cs_right"
    assert asked.query == {"bucket": "photos", "key": "a.jpg", "size": "160"}
    visitor.expect("401")


def test_filters_hold_for_what_is_shown_and_for_what_comes(
    visitor: Visit, api: ScriptedApi
) -> None:
    for each in FOUR:
        api.images[each["subject"]] = photo("red star", 1)
    api.publish(*FOUR)
    page = visitor.open("live")
    shows(page, "d.jpg", "c.jpg", "b.jpg", "a.jpg")
    page.get_by_label("Decision").select_option("dead letter")
    shows(page, "d.jpg")
    page.get_by_label("Decision").select_option("review")
    shows(page, "c.jpg")
    page.get_by_label("Decision").select_option("All")
    page.get_by_label("Label", exact=True).select_option("blue ring")
    shows(page, "b.jpg")
    page.get_by_label("Label", exact=True).select_option("All")
    page.get_by_label("Text").fill("A.JP")
    shows(page, "a.jpg")
    eventually(lambda: api.asked_of("/v1/live")[-1].query == {"text": "A.JP"})
    page.get_by_label("Text").fill("nowhere")
    expect(page.get_by_text("Nothing passes the filter yet")).to_be_visible()
    page.get_by_role("button", name="Clear the filter").click()
    shows(page, "d.jpg", "c.jpg", "b.jpg", "a.jpg")


def test_a_paused_view_counts_what_arrives_and_shows_it_afterwards(
    visitor: Visit, api: ScriptedApi
) -> None:
    api.publish(dead("1.jpg", "fetch.not_found"))
    page = visitor.open("live")
    shows(page, "1.jpg")
    page.get_by_role("button", name="Pause").click()
    api.publish(dead("2.jpg", "fetch.not_found"), dead("3.jpg", "fetch.not_found"))
    expect(page.get_by_text("Paused · 2 new")).to_be_visible()
    shows(page, "1.jpg")
    page.get_by_role("button", name="Resume").click()
    shows(page, "3.jpg", "2.jpg", "1.jpg")


def test_the_page_connects_again_when_the_stream_ends(visitor: Visit, api: ScriptedApi) -> None:
    api.publish(dead("1.jpg", "fetch.not_found"))
    page = visitor.open("live")
    expect(page.get_by_text("connected", exact=True)).to_be_visible()
    api.cut()
    expect(page.get_by_text("reconnecting…")).to_be_visible()
    api.publish(dead("2.jpg", "fetch.not_found"))
    shows(page, "2.jpg", "1.jpg")
    expect(page.get_by_text("connected", exact=True)).to_be_visible()


def test_the_stream_is_left_with_the_view(visitor: Visit, api: ScriptedApi) -> None:
    page = visitor.open("live")
    eventually(lambda: api.readers == 1)
    page.get_by_role("link", name="Status").click()
    eventually(lambda: api.readers == 0)


def test_an_outcome_opens_with_its_whole_event_by_key_or_click(
    visitor: Visit, api: ScriptedApi
) -> None:
    api.images["a.jpg"] = photo("red star", 1)
    result = {
        "label_set": "signals",
        "version": "sha256:older",
        "decision": "block",
        "matched": ["warm colour"],
        "scores": [{"label": "warm colour", "score": 0.97, "similarity": 0.3}],
    }
    event = {"id": "id-a", "type": "clipstream.classification.v1", "data": {"results": [result]}}
    api.publish(outcome("a.jpg", decided("block", "warm colour"), event=event))
    page = visitor.open("live")
    name = page.locator(".outcome .name")
    name.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".bar-row[data-label]")).to_contain_text("0.970")
    expect(dialog.locator(".thumbnail img")).to_be_visible()
    assert api.asked_of("/v1/live/image")[-1].query["size"] == "640"
    dialog.get_by_role("button", name="Whole event").click()
    expect(dialog.locator("pre")).to_contain_text('"type": "clipstream.classification.v1"')
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(name).to_be_focused()


def test_a_blurred_image_is_revealed_only_once_the_server_has_noted_it(
    visitor: Visit, api: ScriptedApi
) -> None:
    from tests.rigs.serve.scripted_api import refusal

    api.changed["blur"] = True
    api.images["a.jpg"] = photo("red star", 1)
    api.publish(FOUR[0])
    api.refusals["/v1/live/reveal"] = [refusal(503, "draining", "the server ends")]
    page = visitor.open("live")
    reveal = page.get_by_role("button", name="Reveal the image of a.jpg")
    reveal.click()
    expect(page.get_by_role("alert")).to_contain_text("The image stays blurred")
    expect(page.locator(".thumbnail.blurred")).to_be_visible()
    reveal.press("Enter")
    expect(page.locator(".thumbnail.blurred")).to_have_count(0)
    said = [each.body for each in api.asked_of("/v1/live/reveal", "POST")]
    assert said == 2 * [{"id": "id-a.jpg", "uri": "s3://photos/a.jpg"}]
    visitor.expect("503")


def test_whatever_an_event_holds_is_text(visitor: Visit, api: ScriptedApi) -> None:
    attack = '<img src="x" onerror="document.title = 1">'
    event = {"id": attack, "data": {"results": [], "x": attack}}
    given = outcome("a.jpg", decided(attack, attack), event=event, subject=attack, image=None)
    api.publish(given | {"uri": "javascript:alert(1)"})
    page = visitor.open("live")
    page.locator(".outcome .name").click()
    expect(page.get_by_role("dialog").locator("pre")).to_contain_text("onerror")
    assert page.locator("img[src='x'], a[href^='javascript']").count() == 0


def test_the_view_fits_a_phone(visits: Visits, api: ScriptedApi) -> None:
    for each in FOUR:
        api.images[each["subject"]] = photo("red star", 1)
    long = "a-very-long-name-without-any-place-to-break-it" * 4
    api.publish(*FOUR, dead(long, "fetch.not_found"))
    visitor = visits(size=PHONE, has_touch=True)
    page = visitor.open("live")
    page.locator(".outcome .name").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    window, content = visitor.width()
    assert content <= window
