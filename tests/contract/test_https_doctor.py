"""What `clipstream doctor` says of hosts."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from pipeline.adapters.https.doctor import check_hosts
from pipeline.adapters.https.policy import HttpsPolicy
from pipeline.ports import CheckResult

ADDRESSES = {"good.example.com": ["8.8.8.8"], "both.example.com": ["8.8.8.8", "10.0.0.1"]}
ADDRESSES["inside.example.com"] = ["10.0.0.1", "fd00::1"]


def lookup(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
    if host not in ADDRESSES:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in ADDRESSES[host]]


@pytest.mark.parametrize(
    ("host", "result", "says"),
    [
        ("good.example.com", CheckResult.PASSED, "leads to public addresses"),
        ("both.example.com", CheckResult.WARNING, "leads to 10.0.0.1 too"),
        ("inside.example.com", CheckResult.FAILED, "leads to 10.0.0.1, fd00::1, which is not"),
        ("gone.example.com", CheckResult.FAILED, "has no address (Name or service not known)"),
        ("*.example.com", CheckResult.WARNING, "a pattern"),
    ],
)
def test_each_host_is_looked_up_and_judged(host: str, result: CheckResult, says: str) -> None:
    [check] = check_hosts(HttpsPolicy(allowed_hosts=(host,)), lookup=lookup)
    assert (check.subject, check.result) == (f"host {host}", result)
    assert says in check.message


def test_without_hosts_there_is_nothing_to_check() -> None:
    assert list(check_hosts(HttpsPolicy(), lookup=lookup)) == []
