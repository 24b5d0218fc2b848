"""What a cluster has left on this machine."""

from __future__ import annotations

from pathlib import Path

from deploy.dev.cluster.node.kubelet import CONTROL_GROUPS

LOGS = "logs"


def traces(of: Path) -> list[str]:
    """Processes, mounts, bridges, control groups and files, but for logs. Empty if the cluster was
    removed. ``of`` is the cluster's folder."""
    slot = of.name
    found = [
        str(path)
        for path in (
            Path(f"/sys/class/net/clipstream{slot}"),
            CONTROL_GROUPS / f"clipstream{slot}",
            *CONTROL_GROUPS.glob(f"*/clipstream{slot}"),
        )
        if path.exists()
    ]
    folder = f"{of}/"
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if folder in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has ended
        if folder in command:
            found.append(command)
    kept = (LOGS, ".lock")
    return found + [str(path) for path in of.iterdir() if path.name not in kept]
