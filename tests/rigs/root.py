"""Where the project's tree begins, and where its long runs and benchmarks leave what they found."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests/benchmarks/results"
