"""What tests need is fetched or built by programs of others."""

from __future__ import annotations

import sys

import pytest

from deploy.dev.installing import install
from workers.embedded.processes import ServiceError


def python(code: str, deadline_s: float = 60.0) -> str:
    return install([sys.executable, "-c", code], deadline_s, "check the network")


def test_a_command_returns_what_it_prints() -> None:
    assert python("import sys; print(1); print(2, file=sys.stderr)") == "1\n"


def test_a_command_that_fails_is_told_with_its_words_and_the_advice() -> None:
    with pytest.raises(ServiceError, match=r"(?s)\(status 3\); check the network:\nout\nerr"):
        python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")


def test_a_command_that_is_late_is_told_with_the_advice() -> None:
    with pytest.raises(ServiceError, match=r"no end within 0\.2 s; check the network"):
        python("import time; time.sleep(60)", deadline_s=0.2)
