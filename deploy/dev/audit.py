"""Looks the pinned dependencies up in a vulnerability database, and says when it could not.

pip-audit passes over what its database does not answer for, which reads like a clean result.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNREACHABLE = 2


def main() -> int:
    """0: no known vulnerability; 1: some; 2: not everything could be looked up."""
    done = subprocess.run(  # noqa: S603 - no input from outside
        [
            *(sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip"),
            *("--requirement", str(ROOT / "constraints.txt")),
            *("--format", "json", "--progress-spinner", "off"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except ValueError:
        print(done.stderr.strip()[-2000:])
        print("audit: no vulnerability database could be reached; nothing was checked")
        return UNREACHABLE
    vulnerable = [each for each in dependencies if each.get("vulns")]
    unknown = [each for each in dependencies if "skip_reason" in each]
    for each in vulnerable:
        ids = ", ".join(vulnerability["id"] for vulnerability in each["vulns"])
        print(f"{each['name']} {each['version']}: {ids}")
    print(f"audit: {len(dependencies) - len(unknown)} of {len(dependencies)} pins looked up")
    if unknown:
        print("audit: the database did not answer for the others; run this where it can be reached")
    return 1 if vulnerable else UNREACHABLE if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
