"""The page itself: its four views, the key, a phone's width, the keyboard, other hosts."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.rigs.serve.browser import PHONE, Visit, Visits
from tests.rigs.serve.scripted_api import ScriptedApi, refusal

pytestmark = [pytest.mark.component]

VIEWS = ("playground", "live", "dead-letters", "status")


def test_each_view_has_an_address_of_its_own(visitor: Visit) -> None:
    page = visitor.open()
    for name in ("Live", "Dead letters", "Status", "Playground"):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("link", name=name, exact=True)).to_have_attribute(
            "aria-current", "page"
        )
        expect(page).to_have_title(f"{name} · Clipstream")
    page.go_back()
    expect(page).to_have_title("Status · Clipstream")


def test_a_server_with_keys_is_asked_again_with_the_key_until_it_is_forgotten(
    visitor: Visit, api: ScriptedApi
) -> None:
    api.key = "cs_right"
    page = visitor.open()
    field = page.get_by_label("Key", exact=True)
    field.fill("cs_wrong")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("refused")
    field.fill("cs_right")
    field.press("Enter")
    expect(page.get_by_role("button", name="Choose images")).to_be_visible()
    assert page.evaluate("Object.entries(sessionStorage)") == [["clipstream.key", "cs_right"]]
    assert page.evaluate("localStorage.length") == 0
    assert all("cs_" not in each.path + str(each.query) for each in api.asked)
    page.reload()
    expect(page.get_by_role("button", name="Choose images")).to_be_visible()
    page.get_by_role("button", name="Forget key").click()
    expect(field).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    visitor.expect("401")


def test_a_key_that_is_revoked_while_the_page_is_open_is_asked_for(
    visitor: Visit, api: ScriptedApi
) -> None:
    page = visitor.open("status")
    api.key = "cs_new"
    expect(page.get_by_role("heading", name="This server asks for a key")).to_be_visible()
    visitor.expect("401")


@pytest.mark.parametrize("view", VIEWS[1:])
def test_a_view_that_the_key_may_not_see_says_how_to_get_one(
    view: str, visitor: Visit, api: ScriptedApi
) -> None:
    api.scopes = ("classify",)
    page = visitor.open(view)
    expect(page.get_by_text("Your key may not see this")).to_be_visible()
    expect(page.get_by_text(re.compile("clipstream keys create NAME --scope"))).to_be_visible()
    asked = {each.path for each in api.asked}
    assert asked == {"/v1/console"}


@pytest.mark.parametrize("view", ["live", "dead-letters"])
def test_without_a_stream_a_view_says_how_to_configure_one(
    view: str, visitor: Visit, api: ScriptedApi
) -> None:
    api.changed["stream"] = {"configured": False, "why": "kafka.bootstrap_servers is not set"}
    page = visitor.open(view)
    expect(page.get_by_text("This server follows no stream")).to_be_visible()
    expect(page.get_by_text("kafka.bootstrap_servers is not set")).to_be_visible()


def test_a_server_that_fails_at_the_start_can_be_asked_again(
    visitor: Visit, api: ScriptedApi
) -> None:
    api.refusals["/v1/console"] = [refusal(503, "draining", "the server ends; ask another one")]
    page = visitor.page
    page.goto(visitor.url)
    expect(page.get_by_role("alert")).to_contain_text("the server ends; ask another one")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("button", name="Choose images")).to_be_visible()
    visitor.expect("503")


def test_nothing_is_wider_than_a_phone(visits: Visits) -> None:
    visitor = visits(size=PHONE, has_touch=True)
    for view in VIEWS:
        visitor.open(view)
        window, content = visitor.width()
        assert content <= window, view


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_colours_follow_the_system(scheme: str, is_dark: bool, visits: Visits) -> None:
    page = visits(color_scheme=scheme).open()
    ground: str = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 3 * 128) is is_dark


def test_the_first_key_presses_lead_past_the_head(visitor: Visit) -> None:
    page = visitor.open()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Choose images")).to_be_focused()
