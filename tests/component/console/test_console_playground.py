"""The playground: images in, scores out, thresholds to try."""

from __future__ import annotations

import base64
import json

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.rigs.serve.browser import Visit
from tests.rigs.serve.console_server import drawing
from tests.rigs.serve.scripted_api import ScriptedApi, refusal

pytestmark = [pytest.mark.component]

GIVE = """([kind, name, encoded]) => {
  const bytes = Uint8Array.from(atob(encoded), (each) => each.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: "image/png" }));
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
    : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}"""


def file(name: str, body: bytes) -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": body}


def pick(page: Page, *files: FilePayload) -> None:
    page.get_by_label("Images", exact=True).set_input_files([*files])


def card(page: Page, name: str) -> Locator:
    return page.get_by_role("article", name=name)


def classify(page: Page, label_set: str = "shapes") -> None:
    page.get_by_label("Label set", exact=True).select_option(label_set)
    page.get_by_role("button", name="Classify").click()


def test_picked_images_are_classified_by_a_label_set(visitor: Visit) -> None:
    page = visitor.open()
    pick(page, file("star.png", drawing("red star")), file("ring.png", drawing("blue ring")))
    classify(page)
    for name, best, decision in (
        ("star.png", "red star", "reject"),
        ("ring.png", "blue ring", "tag"),
    ):
        shown = card(page, name)
        expect(shown).to_have_attribute("data-state", "done")
        expect(shown.locator(".decision .badge")).to_have_text(decision)
        expect(shown.locator(".matched-names")).to_have_text(best)
        expect(shown.locator(".bar-row[data-label]").first).to_have_attribute("data-label", best)
        expect(shown.locator("figcaption")).to_contain_text("PNG · 480 \N{MULTIPLICATION SIGN} 360")


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_an_image_may_be_dropped_or_pasted(kind: str, visitor: Visit) -> None:
    page = visitor.open()
    encoded = base64.b64encode(drawing("green cross")).decode()
    page.evaluate(GIVE, [kind, "given.png", encoded])
    classify(page)
    expect(card(page, "given.png").locator(".matched-names")).to_have_text("green cross")


def test_the_square_that_the_model_saw_is_drawn_over_the_image(visitor: Visit) -> None:
    page = visitor.open()
    pick(page, file("wide.png", drawing("red star", size=(600, 300))))
    classify(page)
    shown = card(page, "wide.png")
    expect(shown.get_by_text("50 % is cut off")).to_be_visible()
    image = shown.locator("img").bounding_box()
    square = shown.locator(".square rect").bounding_box()
    assert image is not None
    assert square is not None
    assert square["width"] == pytest.approx(image["width"] / 2, abs=3)
    assert square["height"] == pytest.approx(image["height"], abs=3)
    assert square["x"] - image["x"] == pytest.approx(image["width"] / 4, abs=3)


def test_a_slider_changes_at_once_what_matches_and_what_is_decided(visitor: Visit) -> None:
    page = visitor.open()
    pick(page, file("star.png", drawing("red star")))
    classify(page, "signals")
    shown = card(page, "star.png")
    expect(shown.locator(".decision .badge")).to_have_text("block")
    act = shown.get_by_label("warm colour: block from")
    review = shown.get_by_label("warm colour: review from")
    act.fill("1")
    expect(shown.locator(".decision")).to_contain_text("was block")
    expect(shown.locator(".decision .badge")).to_have_text("review")
    review.fill("1")
    expect(shown.locator(".decision .badge")).to_have_text("allow")
    expect(shown.locator(".matched-names")).to_have_text("no label matches")
    # The one gives way to the other.
    act.fill("0.3")
    expect(review).to_have_value("0.3")
    expect(shown.locator(".decision .badge")).to_have_text("block")
    expect(page.get_by_role("button", name="Copy thresholds as YAML")).to_be_visible()
    page.get_by_role("button", name="Reset thresholds").click()
    expect(act).to_have_value("0.95")


def test_own_labels_are_typed_and_compared(visitor: Visit) -> None:
    page = visitor.open()
    pick(page, file("circle.png", drawing("blue circle")))
    page.get_by_role("button", name="Own labels").click()
    page.get_by_label("Labels", exact=False).last.fill("blue circle, red star\ngreen cross")
    page.keyboard.press("Control+Enter")
    shown = card(page, "circle.png")
    expect(shown.locator(".matched-names")).to_have_text("blue circle")
    expect(shown.locator(".bar-row[data-label]")).to_have_count(3)


def test_bars_stand_by_score_or_in_the_sets_order(visitor: Visit) -> None:
    page = visitor.open()
    pick(page, file("circle.png", drawing("blue circle")))
    classify(page, "signals")
    rows = card(page, "circle.png").locator(".bar-row[data-label]")
    expect(rows.first).to_have_attribute("data-label", "round")
    page.get_by_role("button", name="In set order").click()
    expect(rows.first).to_have_attribute("data-label", "warm colour")


def test_a_file_that_is_no_image_says_why_and_the_others_go_on(visitor: Visit) -> None:
    page = visitor.open()
    pick(page, file("notes.png", b"not an image"), file("star.png", drawing("red star")))
    classify(page)
    broken = card(page, "notes.png")
    expect(broken.get_by_role("alert")).to_contain_text("decode.unsupported_format")
    expect(broken).to_contain_text("This browser cannot show this file")
    expect(card(page, "star.png").locator(".matched-names")).to_have_text("red star")
    visitor.expect("400")


def test_a_busy_server_is_asked_again_after_the_wait_that_it_names(
    visitor: Visit, api: ScriptedApi
) -> None:
    api.refusals["/v1/classify"] = [
        refusal(429, "overloaded", "the queue is full", retry_after_ms="400")
    ]
    page = visitor.open()
    pick(page, file("star.png", drawing("red star")))
    classify(page)
    shown = card(page, "star.png")
    expect(shown).to_contain_text("The server is busy; tries again in 0.4 s")
    expect(shown).to_have_attribute("data-state", "done")
    assert len(api.asked_of("/v1/classify")) == 2
    visitor.expect("429")


def test_a_file_that_the_server_would_refuse_is_not_sent(visitor: Visit, api: ScriptedApi) -> None:
    api.changed["limits"] = {"max_body_bytes": 100_000}
    page = visitor.open()
    pick(page, file("large.png", bytes(200_000)))
    classify(page)
    expect(card(page, "large.png").get_by_role("alert")).to_contain_text("too_large")
    assert api.asked_of("/v1/classify") == []


def test_the_request_can_be_copied_for_other_programs(visitor: Visit) -> None:
    page = visitor.open()
    pick(page, file("it's.png", drawing("red star")))
    page.get_by_role("button", name="Own labels").click()
    page.get_by_label("Labels", exact=False).last.fill("a cat\na dog")
    request = page.get_by_role("region", name="The same request elsewhere").locator("pre")
    expect(request).to_contain_text(f"curl '{visitor.url}/v1/classify'")
    expect(request).to_contain_text("'image=@it'\\''s.png'")
    page.get_by_role("button", name="Python").click()
    compile(request.inner_text(), "copied", "exec")
    page.get_by_role("button", name="JSON").click()
    assert json.loads(request.inner_text())["labels"] == ["a cat", "a dog"]
    page.get_by_role("button", name="Label set").click()
    page.get_by_role("button", name="Python").click()
    expect(request).to_contain_text("client.moderations.create(")
    compile(request.inner_text(), "copied", "exec")


def test_everything_is_done_with_the_keyboard(visitor: Visit) -> None:
    page = visitor.open()
    picker = page.get_by_label("Images", exact=True)
    picker.evaluate(
        "(input) => input.addEventListener('click', (event) => {"
        " event.preventDefault(); input.dataset.opened = 'true'; })"
    )
    page.get_by_role("button", name="Choose images").focus()
    page.keyboard.press("Enter")
    expect(picker).to_have_attribute("data-opened", "true")
    pick(page, file("star.png", drawing("red star")))
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.get_by_label("Label set", exact=True)).to_be_focused()
    page.keyboard.type("si")
    page.keyboard.press("Control+Enter")
    shown = card(page, "star.png")
    expect(shown.locator(".decision .badge")).to_have_text("block")
    slider = shown.get_by_label("warm colour: block from")
    while not slider.evaluate("(each) => each === document.activeElement"):
        page.keyboard.press("Tab")
    page.keyboard.press("End")
    expect(slider).to_have_value("1")
    expect(shown.locator(".decision .badge")).to_have_text("review")


def test_a_label_is_text_whatever_it_holds(visitor: Visit) -> None:
    page = visitor.open()
    name = "<img src=x>"
    pick(page, file(f"{name}.png", drawing("red star")))
    page.get_by_role("button", name="Own labels").click()
    page.get_by_label("Labels", exact=False).last.fill(f"{name}\nred star")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".bar-text", has_text=name)).to_be_visible()
    assert page.locator("img[src='x']").count() == 0
