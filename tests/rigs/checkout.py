"""What a committed result was measured on."""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def commit() -> str:
    """The commit that is checked out, with ``-dirty`` where files differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True)
        return done.stdout.strip()

    return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain") else "")
