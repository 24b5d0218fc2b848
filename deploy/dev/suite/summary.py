"""What a run of groups prints: a line a group, the output of those that failed, and a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from deploy.dev.suite.running import Result

_HEADINGS = ("group", "passed", "failed", "skipped", "wall", "CPU", "guards")
_LEFT = {"group", "guards"}


def line(result: Result) -> str:
    """One group that has ended."""
    said = ", ".join(f"{number} {word}" for word, number in result.counts.items())
    verdict = "passed" if result.passed else f"FAILED with status {result.status}"
    return f"{result.group.name:<10} {verdict} after {result.wall_s:.0f} s" + (said and f": {said}")


def failures(results: Iterable[Result]) -> Iterator[str]:
    """The whole output of every group that failed."""
    for result in results:
        if not result.passed:
            title = f" {result.group.name}: status {result.status} "
            yield f"{title:#^100}\n{result.output.rstrip()}\n{'#' * 100}\n"


def skips(results: Iterable[Result]) -> list[str]:
    """Each skipped test with its reason. A group that failed has it in its output."""
    return [
        f"{each.group.name}: {skipped}" for each in results if each.passed for skipped in each.skips
    ]


def table(results: Sequence[Result]) -> str:
    """What every group guards, what became of its tests, and what it cost."""
    rows = [_HEADINGS, *(_row(result) for result in results)]
    total = sum(result.cpu_s for result in results)
    rows.append(("together", *_sums(results), "", _time(total), ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(
            f"{cell:<{width}}" if heading in _LEFT else f"{cell:>{width}}"
            for cell, width, heading in zip(row, widths, _HEADINGS, strict=True)
        ).rstrip()
        for row in rows
    )


def _row(result: Result) -> tuple[str, ...]:
    counts = _counts(result)
    if not counts:
        counts = ("yes", "", "") if result.passed else ("", "FAILED", "")
    cost = _time(result.wall_s), _time(result.cpu_s)
    return result.group.name, *counts, *cost, result.group.guards


def _counts(result: Result) -> tuple[str, ...]:
    """Passed, failed and skipped tests; nothing where pytest has counted none."""
    counts = result.counts
    if not counts:
        return ()
    passed = counts.get("passed", 0) + counts.get("xfailed", 0)
    # A run that broke off has no failed test to show for it.
    said = f"{result.failed}" if result.passed or result.failed else "FAILED"
    return f"{passed}", said, f"{counts.get('skipped', 0)}"


def _sums(results: Iterable[Result]) -> tuple[str, ...]:
    columns = zip(*filter(None, map(_counts, results)), strict=True)
    sums = [str(sum(int(cell) for cell in column if cell.isdigit())) for column in columns]
    return tuple(sums or ("", "", ""))


def _time(seconds: float) -> str:
    """Minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"
