"""What a committed result was measured on."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.rigs.root import ROOT

HERE = Path(__file__).parent


def commit(results: Path | None = None) -> str:
    """The commit that is checked out, with ``-dirty`` where files differ from it. ``results`` are a
    folder that does not count, because earlier tests of the same run have written there."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True)
        return done.stdout.strip()

    without = [f":(exclude,top){results.relative_to(ROOT)}"] if results else []
    changed = git("status", "--porcelain", "--", ":/", *without)
    return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
