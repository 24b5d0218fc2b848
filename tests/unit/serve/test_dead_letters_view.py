"""Dead letters by code, and replays that send exactly what was shown."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from pipeline.errors import CODES, Halt, Retry
from tests.rigs.serve.console import Console, audit, console, limited
from tests.rigs.serve.stream import WRITTEN_S, dead, photo
from workers.serve.caller import Caller
from workers.serve.live import letters as surveying
from workers.serve.live import replays as replaying

PATH = "/v1/dead-letters"
REPLAY = f"{PATH}/replay"


def survey(asked: Console, query: str = "") -> Any:
    answer = asyncio.run(asked.ask("GET", f"{PATH}{query}"))
    assert answer.status_code == 200, answer.text
    return answer.json()


def counts(told: Any) -> dict[str, int]:
    return {row["code"]: row["count"] for row in told["codes"]}


def post(asked: Console, **body: Any) -> tuple[int, Any]:
    answer = asyncio.run(asked.ask("POST", REPLAY, json=body))
    return answer.status_code, answer.json()


def code_of(asked: Console, **body: Any) -> str:
    status, told = post(asked, **body)
    assert status == 400, told
    code: str = told["error"]["code"]
    return code


def with_letters(count: int = 3, caller: Caller | None = None) -> Console:
    asked = console() if caller is None else console(caller=caller)
    asked.topics.letters += [
        dead(photo(f"{n}.jpg", tenant="acme"), at=WRITTEN_S - count + n) for n in range(count)
    ]
    return asked


# -- the survey ---------------------------------------------------------------------------------


def test_letters_are_counted_by_code_with_meaning_and_samples() -> None:
    asked = with_letters(7)
    asked.topics.letters.append(dead(photo("c.jpg"), "decode.corrupt", at=WRITTEN_S - 9))
    told = survey(asked)
    assert counts(told) == {"fetch.not_found": 7, "decode.corrupt": 1}
    row = told["codes"][0]
    assert row["meaning"] == CODES["fetch.not_found"].meaning
    assert row["remedy"] == CODES["fetch.not_found"].remedy
    assert row["newest_at"] == WRITTEN_S - 1
    assert [sample["subject"] for sample in row["samples"]] == [
        f"s3://photos/{n}.jpg" for n in (6, 5, 4, 3, 2)
    ]
    sample = row["samples"][0]
    assert sample["message"] == "fetch.not_found: no"
    assert sample["attempts"] == 3
    assert sample["image"]["key"] == "6.jpg"
    assert told["looked_back"]["letters"] == 8
    assert told["looked_back"]["whole"] is True
    assert "24 hours" in told["looked_back"]["bound"]
    assert told["looked_back"]["since"] == WRITTEN_S - 24 * 3600


def test_a_code_or_a_stage_may_be_asked_for() -> None:
    asked = with_letters(1)
    asked.topics.letters.append(dead(photo("c.jpg"), "decode.corrupt"))
    assert counts(survey(asked, "?code=decode.corrupt")) == {"decode.corrupt": 1}
    assert counts(survey(asked, "?code=fetch.*")) == {"fetch.not_found": 1}


def test_older_letters_are_not_looked_at() -> None:
    asked = with_letters(1)
    asked.topics.letters.insert(0, dead(photo("old.jpg"), at=WRITTEN_S - 25 * 3600))
    assert counts(survey(asked)) == {"fetch.not_found": 1}


def test_letters_that_were_replayed_and_letters_that_came_twice_are_told_apart() -> None:
    asked = with_letters(3)
    asked.topics.letters.append(asked.topics.letters[0])
    asyncio.run(replay_all(asked, limit=1))
    told = survey(asked)
    assert [(row["count"], row["replayed"]) for row in told["codes"]] == [(3, 1)]


async def replay_all(asked: Console, **selection: Any) -> None:
    shown = (await asked.ask("POST", REPLAY, json=selection)).json()
    body = selection | {"publish": True, "token": shown["token"]}
    assert (await asked.ask("POST", REPLAY, json=body)).status_code == 200


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        ({"objects": ("photos/0*",)}, 1),
        ({"tenants": ("other",)}, 0),
        ({"tenants": ("acme",)}, 3),
        ({"label_sets": ("shapes",)}, 3),
        ({"label_sets": ("other",)}, 0),
    ],
)
def test_a_key_counts_and_replays_only_what_it_may_see(limits: Any, count: int) -> None:
    asked = with_letters(3, limited(**limits))
    asked.topics.letters.append(dead(None, "reference.not_json"))
    assert sum(counts(survey(asked)).values()) == count
    _, shown = post(asked)
    assert (shown["would_send"], shown["skipped"]) == (count, {})


def test_a_survey_is_shown_again_for_some_seconds_and_to_no_other_key() -> None:
    async def scenario() -> None:
        asked = with_letters(2)
        for _ in range(3):
            await asked.ask("GET", PATH)
        assert asked.topics.passes == 1
        asked.caller = limited(objects=())
        assert (await asked.ask("GET", PATH)).json()["codes"] == []
        asked.clock.now += surveying.KEPT_S
        await asked.ask("GET", PATH)
        assert asked.topics.passes == 3

    asyncio.run(scenario())


def test_a_look_back_that_takes_too_long_ends_and_says_so() -> None:
    asked = with_letters(4)
    asked.topics.windows = 4
    asked.topics.each_window = lambda: setattr(asked.clock, "now", asked.clock.now + 4.0)
    told = survey(asked)
    assert counts(told) == {"fetch.not_found": 3}
    assert told["looked_back"]["whole"] is False
    assert told["looked_back"]["since"] == WRITTEN_S - 3
    assert "can be read" in told["looked_back"]["bound"]


def test_more_letters_than_are_looked_at_are_no_whole() -> None:
    asked = with_letters(2)
    asked.topics.whole = False
    told = survey(asked)
    assert told["looked_back"]["whole"] is False
    assert told["looked_back"]["since"] == WRITTEN_S - 2


@pytest.mark.parametrize("failure", [Retry("kafka.unavailable", "gone"), Halt("kafka.refused", "")])
def test_a_kafka_that_fails_is_no_failure_of_the_replica(failure: Retry | Halt) -> None:
    asked = with_letters()
    asked.topics.fails = failure
    answer = asyncio.run(asked.ask("GET", PATH))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, failure.code)
    status, told = post(asked)
    assert (status, told["error"]["code"]) == (503, failure.code)
    assert asked.services.standing.ready


# -- replays ------------------------------------------------------------------------------------


def test_a_replay_is_shown_and_then_sent_once() -> None:
    asked = with_letters(3)
    asked.topics.letters.append(dead(photo("c.jpg"), "decode.corrupt"))
    status, shown = post(asked, codes=["fetch.*"])
    assert status == 200
    assert (shown["would_send"], shown["topics"]) == (3, {"images": 3})
    assert asked.topics.sent == []
    body = {"codes": ["fetch.*"], "publish": True, "token": shown["token"]}
    assert post(asked, **body) == (200, {"sent": 3, "skipped": {}})
    assert asked.topics.sent == [f"s3://photos/{n}.jpg" for n in range(3)]
    assert code_of(asked, **body) == "replay_not_shown"
    assert len(asked.topics.sent) == 3


def test_letters_that_arrive_in_between_are_not_sent() -> None:
    asked = with_letters(2)
    _, shown = post(asked)
    asked.topics.letters.append(dead(photo("late.jpg")))
    assert post(asked, publish=True, token=shown["token"])[1]["sent"] == 2
    assert "s3://photos/late.jpg" not in asked.topics.sent


def test_letters_that_were_replayed_in_between_are_not_sent_nor_others_in_their_place() -> None:
    asked = with_letters(4)
    _, shown = post(asked, limit=2)
    asyncio.run(replay_all(asked, limit=1))
    told = post(asked, limit=2, publish=True, token=shown["token"])[1]
    assert told == {"sent": 1, "skipped": {"replayed before": 1}}
    assert asked.topics.sent == ["s3://photos/0.jpg", "s3://photos/1.jpg"]


def test_another_replica_sends_what_one_has_shown() -> None:
    asked, other = with_letters(2), console()
    _, shown = post(asked)
    other.topics.letters = asked.topics.letters
    assert post(other, publish=True, token=shown["token"])[1]["sent"] == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"codes": ["fetch.*"]},
        {"since": 1.0},
        {"until": WRITTEN_S},
        {"limit": 1},
        {"token": None},
        {"token": "bm9uc2Vuc2U="},
        {"token": "%%%"},
    ],
)
def test_what_was_not_shown_is_not_sent(changed: dict[str, Any]) -> None:
    asked = with_letters(2)
    _, shown = post(asked)
    body = {"publish": True, "token": shown["token"]} | changed
    assert code_of(asked, **body) == "replay_not_shown"
    assert asked.topics.sent == []


def test_a_token_is_good_for_ten_minutes_and_for_its_key() -> None:
    asked = with_letters(2)
    _, shown = post(asked)
    asked.caller = limited()
    assert code_of(asked, publish=True, token=shown["token"]) == "replay_not_shown"
    asked.caller = with_letters().caller
    asked.clock.now += replaying.GOOD_S
    assert code_of(asked, publish=True, token=shown["token"]) == "replay_not_shown"
    assert asked.topics.sent == []


def test_since_until_and_limit_select_letters() -> None:
    asked = with_letters(5)
    selection = {"since": WRITTEN_S - 4, "until": WRITTEN_S - 1, "limit": 2}
    _, shown = post(asked, **selection)
    assert shown["would_send"] == 2
    post(asked, publish=True, token=shown["token"], **selection)
    assert asked.topics.sent == ["s3://photos/1.jpg", "s3://photos/2.jpg"]


@pytest.mark.parametrize(
    "body", [{"limit": 0}, {"since": "x"}, {"unknown": 1}, {"codes": "fetch.*"}, {"since": 1e999}]
)
def test_a_replay_that_makes_no_sense_is_refused(body: dict[str, Any]) -> None:
    asked = with_letters()
    answer = asyncio.run(asked.ask("POST", REPLAY, content=_json(body)))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"
    assert answer.json()["error"]["param"] == next(iter(body))


def _json(body: dict[str, Any]) -> str:
    return str(body).replace("'", '"').replace("inf", "1e999")


def test_too_many_letters_for_one_request_are_left_to_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replaying, "MOST_LETTERS", 2)
    assert code_of(with_letters(3)) == "replay_too_large"
    assert post(with_letters(3), limit=2)[0] == 200


def test_a_topic_that_takes_too_long_to_read_is_left_to_the_command() -> None:
    asked = with_letters(3)
    asked.topics.each_record = lambda: setattr(asked.clock, "now", asked.clock.now + 30)
    assert code_of(asked) == "replay_too_large"


def test_a_replay_is_logged_with_the_name_of_its_key(caplog: pytest.LogCaptureFixture) -> None:
    asked = with_letters(2, limited(name="carol"))
    with caplog.at_level(logging.INFO, "clipstream.audit"):
        _, shown = post(asked, codes=["fetch.*"])
        assert audit(caplog) == []
        post(asked, codes=["fetch.*"], publish=True, token=shown["token"])
        begins, ends = audit(caplog)
        assert "carol" in begins
        assert "replayed by key carol: sent 2 dead letters" in ends
        assert "fetch.*" in ends
        _, shown = post(asked)
        asked.topics.fails = Retry("kafka.unavailable", "gone")
        post(asked, publish=True, token=shown["token"])
    assert "replayed by key carol: ended early (kafka.unavailable: gone)" in audit(caplog)[-1]
