"""`make bench`: every benchmark in turn, and what they showed as a report with charts.

Writes ``report.json`` (by section: hardware, commit, minutes, settings, and ``figures``: name to
value, unit, goal and whether it is met), ``REPORT.md`` and the charts. ``--only`` measures some
sections again; the others stay in the report as they are, each with the commit and the machine of
its own run. docs/measurements.md says why figures fall short.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from rich.console import Console

from tests.benchmarks import between, decode, encode, fidelity, latency, neighbours, scaling, stream
from tests.benchmarks.backfill import parts as backfill
from tests.benchmarks.figures import Figure
from tests.benchmarks.serve import parts
from tests.rigs.checkout import commit
from tests.rigs.root import RESULTS

matplotlib.use("Agg")
from matplotlib import pyplot

LIBRARIES = ("torch", "transformers", "pillow", "kafka-python", "obstore", "ray", "openvino")
FEATURES = ("avx512_f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
DECODE_ROUNDS = 8
BETWEEN_ROUNDS = 3
STREAM_ROUNDS = 2
SCALING_WORKERS = (1, 16)
SCALING_ROUNDS = 1
SCALING_S = 15.0
BACKFILL_ROUNDS = 1
DPI = 110
WIDTH_IN = 9.0
BAR_IN = 0.32

Benchmark = Callable[[], list[Figure]]


def benchmarks(console: Console) -> dict[str, Benchmark]:
    """By the name of their section, in the report's order."""
    return {
        "Decode": lambda: decode.measure(DECODE_ROUNDS),
        "Encode": encode.measure,
        "Fidelity": fidelity.measure,
        "Between decode and encode": lambda: between.measure(rounds=BETWEEN_ROUNDS),
        "Whole worker": lambda: stream.measure(STREAM_ROUNDS, tell=console.print),
        "Latency": lambda: latency.measure(tell=console.print),
        "Neighbours": lambda: neighbours.measure(tell=console.print),
        "Scaling": lambda: scaling.measure(
            SCALING_WORKERS, SCALING_ROUNDS, SCALING_S, tell=console.print
        ),
        "Backfill": lambda: backfill.measure(backfill.PARTS, BACKFILL_ROUNDS, console.print),
        "Serve": lambda: parts.measure(tell=console.print),
    }


def hardware() -> dict[str, Any]:
    """What the figures are of."""
    information = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields: dict[str, str] = {}
    for line in information.partition("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    features = torch.cpu.get_capabilities()
    return {
        "processor": f"{fields.get('model name', platform.processor())}, family "
        f"{fields.get('cpu family', '?')}, model {fields.get('model', '?')}",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "features": [name for name in FEATURES if features.get(name)],
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def _rounded(value: float) -> float:
    """To five digits: distances are as small as 1e-6."""
    return float(f"{value:.5g}")


def write(measured: Mapping[str, tuple[list[Figure], float]], folder: Path) -> None:
    """Write the report: by section, its figures and the seconds that they took. Sections of a
    report that stands in the folder are kept where they were not measured now."""
    file = folder / "report.json"
    sections: dict[str, dict[str, Any]] = (
        json.loads(file.read_text())["sections"] if file.exists() else {}
    )
    run = {"commit": commit(), "hardware": hardware(), "settings": _settings()}
    for name, (figures, seconds) in measured.items():
        sections[name] = {**run, "minutes": round(seconds / 60, 1), "figures": _as_json(figures)}
        curve = name == "Latency"
        (_draw_latency if curve else _draw)(figures, folder / _chart(name))
    in_order = {name: sections[name] for name in benchmarks(Console()) if name in sections}
    file.write_text(json.dumps({"sections": in_order}, indent=1) + "\n")
    (folder / "REPORT.md").write_text("\n".join(_page(in_order)) + "\n")


def _settings() -> dict[str, Any]:
    return {
        "decode_rounds": DECODE_ROUNDS,
        "between_rounds": BETWEEN_ROUNDS,
        "encode_rounds": encode.ROUNDS,
        "scaling_rounds": SCALING_ROUNDS,
        "stream_rounds": STREAM_ROUNDS,
        "photographs": "CLIPSTREAM_TEST_DATA"
        if os.environ.get("CLIPSTREAM_TEST_DATA")
        else "generated",
    }


def _as_json(figures: Sequence[Figure]) -> dict[str, Any]:
    return {
        figure.name: {
            "value": _rounded(figure.value),
            "spread": figure.spread and [_rounded(each) for each in figure.spread],
            "unit": figure.unit,
            "goal": figure.goal,
            "at_least": figure.at_least,
            "met": figure.met,
        }
        for figure in figures
    }


def _from_json(figures: dict[str, Any]) -> list[Figure]:
    return [
        Figure(
            name,
            each["value"],
            each["unit"],
            each["goal"],
            each["at_least"],
            each["spread"] and tuple(each["spread"]),
        )
        for name, each in figures.items()
    ]


def _chart(section: str) -> str:
    return f"{section.split()[0].lower()}.png"


def _page(sections: dict[str, dict[str, Any]]) -> list[str]:
    lines = [
        "# Benchmark report",
        "",
        "Written by `make bench`; docs/measurements.md explains the figures, and what falls short.",
        "Values are medians of rounds, with the least and the most of them. A GPU's are made by",
        "`make gpu-bench`, and stand in docs/measurements.md.",
    ]
    runs: dict[str, list[str]] = {}
    for name, section in sections.items():
        runs.setdefault(_made(section), []).append(name)
    for made, names in runs.items():
        minutes = sum(sections[name]["minutes"] for name in names)
        lines += ["", f"{', '.join(names)}: {minutes:.3g} minutes.", "", made]
    figures = {name: _from_json(section["figures"]) for name, section in sections.items()}
    every = {figure.name: figure.value for each in figures.values() for figure in each}
    cores = {section["hardware"]["cores"] for section in sections.values()}
    lines += _costs(every, min(cores))
    for name, each in figures.items():
        shown = "latency over load" if name == "Latency" else "the figures as bars"
        lines += ["", f"## {name}", "", f"![{name}: {shown}]({_chart(name)})", ""]
        lines += _table(each)
    return lines


def _made(section: dict[str, Any]) -> str:
    """What the section was measured on, as a list."""
    machine, photographs = section["hardware"], section["settings"]["photographs"]
    features = ", ".join(machine["features"])
    libraries = ", ".join(f"{name} {number}" for name, number in machine["libraries"].items())
    processor = f"{machine['processor']} ({features}), {machine['cores']} cores"
    digest, dash, changed = section["commit"].partition("-")
    return "\n".join(
        (
            f"- {processor}, {machine['memory_gib']} GiB",
            f"- Python {machine['python']}, {libraries}",
            f"- commit {digest[:12]}{dash}{changed}, {photographs} photographs",
        )
    )


def _costs(figures: dict[str, float], cores: int) -> list[str]:
    """What an image takes of the processors, by stage, as far as the stages were measured."""
    stages: list[tuple[str, float, float | None]] = [
        (f"decode, 640x480, {way}", figures[name], None)
        for way in ("strict", "fast")
        if (name := f"decode.{way}.jpeg.640x480.cpu") in figures
    ]
    for name, rate in figures.items():
        if name.endswith((".plain", ".calibrated")):
            share = figures.get(f"{name}.of_limit")
            stages.append((name.replace(".", ", "), 1000 * cores / rate, share))
    if "between.ours" in figures:
        stages.append(("between", figures["between.ours"] / 1000, None))
    for precision in encode.PRECISIONS:
        if f"services.{precision}" in figures:
            taken = figures[f"services.{precision}"]
            stages.append((f"broker and store, beside {precision}", taken, None))
    if not stages:
        return []
    return [
        "",
        "## What an image costs",
        "",
        "| stage | ms of one core | of the arithmetic limit |",
        "|---|---|---|",
        *(
            f"| {stage} | {ms:.3g} | {'' if share is None else f'{share:.2f}'} |"
            for stage, ms, share in stages
        ),
    ]


def _table(figures: Sequence[Figure]) -> list[str]:
    lines = ["| figure | value | rounds | unit | goal | met |", "|---|---|---|---|---|---|"]
    for figure in figures:
        bound = "" if figure.goal is None else f"{'≥' if figure.at_least else '≤'} {figure.goal:g}"
        met = {None: "", True: "yes", False: "**no**"}[figure.met]
        cells = (figure.name, f"{figure.value:.4g}", figure.range, figure.unit, bound, met)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _draw(figures: Sequence[Figure], file: Path) -> None:
    """One group of bars for each unit; goals as ticks."""
    units = list(dict.fromkeys(figure.unit for figure in figures))
    groups = [[figure for figure in figures if figure.unit == unit] for unit in units]
    picture, axes = pyplot.subplots(
        len(groups),
        1,
        figsize=(WIDTH_IN, 1 + sum(0.8 + BAR_IN * len(group) for group in groups)),
        height_ratios=[len(group) + 1 for group in groups],
        layout="constrained",
        squeeze=False,
    )
    colours = {None: "tab:blue", True: "tab:green", False: "tab:red"}
    for axis, unit, group in zip(axes[:, 0], units, groups, strict=True):
        rows = range(len(group))
        bars = axis.barh(
            rows,
            [each.value for each in group],
            xerr=np.transpose([_either_side(each) for each in group]),
            error_kw={"ecolor": "gray", "elinewidth": 1},
            color=[colours[each.met] for each in group],
        )
        axis.bar_label(bars, fmt="%.4g", padding=3)
        for row, each in enumerate(group):
            if each.goal is not None:
                axis.plot([each.goal, each.goal], [row - 0.4, row + 0.4], color="black", lw=2)
        axis.set_yticks(rows, [each.name for each in group])
        axis.invert_yaxis()
        axis.set_xlabel(unit)
        axis.margins(x=0.12)
        axis.set_xlim(left=0)
    picture.savefig(file, dpi=DPI)
    pyplot.close(picture)


def _either_side(figure: Figure) -> tuple[float, float]:
    """How far the rounds lie below and above the value."""
    if figure.spread is None:
        return 0.0, 0.0
    return figure.value - figure.spread[0], figure.spread[1] - figure.value


def _draw_latency(figures: Sequence[Figure], file: Path) -> None:
    """A curve over the load for each percentile; the goal as a tick."""
    picture, axis = pyplot.subplots(figsize=(WIDTH_IN, WIDTH_IN / 2), layout="constrained")
    for percentile in ("p50", "p99"):
        start = f"latency.{percentile}_at_"
        points = {
            int(each.name.removeprefix(start).rstrip("%")): each
            for each in figures
            if each.name.startswith(start)
        }
        axis.plot(list(points), [each.value for each in points.values()], "o-", label=percentile)
        for load, each in points.items():
            axis.annotate(
                f"{each.value:.2f}", (load, each.value), (0, 6), textcoords="offset points"
            )
            if each.goal is not None:
                goal = [each.goal, each.goal]
                axis.plot([load - 3, load + 3], goal, color="black", lw=2, label="goal, p99")
    axis.set_xlabel("load, % of what one worker does of a backlog")
    axis.set_ylabel("s, from record to committed event")
    axis.margins(x=0.08)  # for the last label
    axis.set_ylim(bottom=0)
    axis.legend()
    picture.savefig(file, dpi=DPI)
    pyplot.close(picture)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="bench")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the report")
    parser.add_argument("--only", nargs="+", help="names of sections")
    arguments = parser.parse_args()
    console = Console(markup=False)  # installers' words have brackets
    chosen = benchmarks(console)
    unknown = set(arguments.only or ()) - set(chosen)
    if unknown:
        parser.error(f"--only: no section {', '.join(unknown)}; there are {', '.join(chosen)}")
    measured: dict[str, tuple[list[Figure], float]] = {}
    for name, run in chosen.items():
        if arguments.only and name not in arguments.only:
            continue
        console.rule(name)
        started = time.monotonic()
        figures = run()
        measured[name] = (figures, time.monotonic() - started)
        console.print(f"{measured[name][1]:.0f} s")
    arguments.output.mkdir(parents=True, exist_ok=True)
    write(measured, arguments.output)
    console.print(f"report   {arguments.output / 'REPORT.md'}")
    every = (figure for figures, _ in measured.values() for figure in figures)
    missed = [figure for figure in every if figure.met is False]
    for figure in missed:
        console.print(f"short of its goal: {figure.name} {figure.value:.3g}, {figure.goal:g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
