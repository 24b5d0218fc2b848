"""Systems other than Linux are told so in one sentence, before anything else goes wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("system", ["darwin", "win32"])
@pytest.mark.parametrize("module", ["workers.cli", "workers.settings.loading"])
def test_another_system_ends_at_once_with_what_to_do(system: str, module: str) -> None:
    program = f"import sys; sys.platform = {system!r}; import {module}"

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert ended.returncode == 1
    assert ended.stderr == (
        f"clipstream: needs Linux, and this is {system}; on macOS and Windows run it in a Linux "
        "container\n"
    )
