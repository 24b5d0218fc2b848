"""Drain notices, over a head that answers, fails or hangs."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping

import pytest

from tests.rigs.waiting import WAIT_S, eventually
from workers.cluster import drains
from workers.cluster.drains import DrainNotices


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drains, "POLL_S", 0.001)
    monkeypatch.setattr(drains, "CLOSE_S", 0.01)


class Head:
    """Answers what it is told to."""

    def __init__(self) -> None:
        self.nodes: dict[str, int] = {}
        self.asked = 0
        self.error: Exception | None = None
        self.answers = threading.Event()
        self.answers.set()
        self.hanging = threading.Event()

    def ask(self) -> Mapping[str, int]:
        self.asked += 1
        if not self.answers.is_set():
            self.hanging.set()
            self.answers.wait()
        if self.error is not None:
            raise self.error
        return self.nodes

    def asked_again(self) -> None:
        before = self.asked
        eventually(lambda: self.asked >= before + 2)


def test_a_notice_says_how_long_the_node_stays() -> None:
    head = Head()
    notices = DrainNotices(head.ask, wall=lambda: 1000.0)
    head.nodes = {"a": 1_030_000, "b": 0, "c": 990_000}
    eventually(lambda: notices.goes_in("a") is not None)
    assert notices.goes_in("a") == 30.0
    assert notices.goes_in("b") == math.inf
    assert notices.goes_in("c") == -10.0
    assert notices.goes_in("d") is None
    head.nodes = {}
    eventually(lambda: notices.goes_in("a") is None)
    notices.close()


def test_a_head_that_fails_is_told_once_and_what_it_announced_holds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    head = Head()
    notices = DrainNotices(head.ask, wall=lambda: 1000.0)
    head.nodes = {"a": 1_030_000}
    eventually(lambda: notices.goes_in("a") is not None)
    with caplog.at_level(logging.WARNING):
        head.error = ConnectionError("the head is lost")
        head.asked_again()
        head.asked_again()
        assert notices.goes_in("a") == 30.0
        head.error, head.nodes = None, {}
        eventually(lambda: notices.goes_in("a") is None)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    notices.close()


def test_a_head_that_hangs_holds_nobody_up() -> None:
    head = Head()
    notices = DrainNotices(head.ask)
    head.answers.clear()
    assert head.hanging.wait(WAIT_S)
    assert notices.goes_in("a") is None
    notices.close()
    head.answers.set()
    # Once more at most: the answer that it waited for was the last.
    eventually(lambda: not notices._thread.is_alive())
