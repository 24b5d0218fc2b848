"""Makes the page: what is shown of a job, and how it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.backfill.cost import GET_PRICE, PRICES_OF, PUT_PRICE
from pipeline.backfill.report.evidence import LabelEvidence, Verdict
from pipeline.backfill.report.pace import Pace, WorkerTime, busy_s, pace, worker_time
from pipeline.backfill.report.samples import BANDS, JobSamples, SampledObject, Shown
from pipeline.backfill.summary import BINS, LabelSetTally, LabelTally
from pipeline.errors import CODES
from pipeline.evaluation.share import Share
from workers.backfill.report.charts import area, bars, between, line
from workers.backfill.report.gather import Gathered

THRESHOLDS = tuple(range(5, BINS, 5))
"""Edges of bins at which the page judges a label: 0.1, 0.2, … 0.9."""

LABELS_OPEN = 2
"""Labels whose samples are unfolded."""

_TEMPLATE = "report.html.jinja"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person chose. ``gpu_hour_price`` is in US dollars."""

    gpu_hour_price: float | None = None
    thumbnails: bool = False
    clear: bool = False
    """Pictures are blurred until a person asks for them on the page; with this, they never are."""


@dataclass(frozen=True, slots=True)
class Cost:
    """``gpus`` is None without a price, or if no GPU was used."""

    time: WorkerTime
    gpus: float | None
    requests: float

    @property
    def total(self) -> float:
        return (self.gpus or 0.0) + self.requests


@dataclass(frozen=True, slots=True)
class JudgedLabel:
    """A label with evidence. ``curve`` has each edge of a bin but the first."""

    name: str
    evidence: LabelEvidence
    curve: tuple[Verdict, ...]

    @property
    def table(self) -> list[Verdict]:
        return [self.evidence.at(edge) for edge in THRESHOLDS]

    def line(self, what: str) -> str:
        shares = [(each.threshold or 0.0, getattr(each, what).value) for each in self.curve]
        return line([(x, y) for x, y in shares if y is not None])

    def interval(self, what: str) -> str:
        shares = [(each.threshold or 0.0, getattr(each, what)) for each in self.curve]
        return between([(x, y.low, y.high) for x, y in shares if y.of])


@dataclass(frozen=True, slots=True)
class ShownLabel:
    """``bands`` are samples, the highest scores first."""

    name: str
    tally: LabelTally
    chart: str
    bands: tuple[tuple[str, int, list[Shown]], ...]

    @property
    def sampled(self) -> bool:
        return any(shown for _, _, shown in self.bands)


@dataclass(frozen=True, slots=True)
class ShownSet:
    name: str
    version: str
    tally: LabelSetTally
    labels: tuple[ShownLabel, ...]
    judged: tuple[JudgedLabel, ...] = field(default=())

    @property
    def decisions(self) -> list[tuple[str, int]]:
        return sorted(self.tally.decisions.items(), key=lambda each: (-each[1], each[0]))


def shown_objects(gathered: Gathered, most: int) -> list[SampledObject]:
    """The objects of which the page shows a picture: those of the highest scores first."""
    wanted: dict[SampledObject, None] = {}
    for band in reversed(range(BANDS)):
        for name, tally in gathered.summary.label_sets.items():
            for label in tally.labels:
                for each in gathered.samples.scored(name, label, band):
                    wanted.setdefault(each.object)
    return list(wanted)[:most]


def render(
    gathered: Gathered,
    choice: Choice,
    pictures: Mapping[SampledObject, str],
    at: datetime,
) -> str:
    """One self-contained HTML page. It loads nothing, runs no script, and escapes every value,
    because senders choose object keys and messages. ``pictures`` are data URIs."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count="{:,}".format,
        money=_money,
        part=_part,
        percent=_percent,
        prose=_prose,
        size=_size,
        span=_span,
        time=_time,
    )
    rate = pace(gathered.spans)
    took_s = busy_s(gathered.spans)
    return environment.get_template(_TEMPLATE).render(
        job=gathered.job,
        identity=gathered.identity,
        summary=gathered.summary,
        shards=gathered.shards,
        complete=gathered.complete,
        made_at=at,
        took_s=took_s,
        rows_per_s=gathered.summary.rows / took_s if took_s else 0.0,
        rate=rate,
        rate_chart=area(rate.rows_per_s) if rate else "",
        rate_times=_times(rate),
        cost=_cost(gathered, choice),
        choice=choice,
        sets=_sets(gathered),
        failures=[
            (code, count, gathered.samples.failed(code))
            for code, count in sorted(
                gathered.summary.codes.items(), key=lambda each: (-each[1], each[0])
            )
        ],
        codes=CODES,
        pictures=pictures,
        labels_open=LABELS_OPEN,
        bins=BINS,
        prices_of=PRICES_OF,
    )


def _cost(gathered: Gathered, choice: Choice) -> Cost:
    time = worker_time(gathered.spans)
    priced = choice.gpu_hour_price is not None and time.gpu_s > 0
    files = gathered.shards + gathered.job.shards
    return Cost(
        time,
        time.gpu_s / 3600 * (choice.gpu_hour_price or 0.0) if priced else None,
        (gathered.summary.rows - gathered.summary.copied) * GET_PRICE + files * PUT_PRICE,
    )


def _sets(gathered: Gathered) -> list[ShownSet]:
    versions = gathered.identity.label_sets if gathered.identity else {}
    return [
        ShownSet(
            name,
            versions.get(name, ""),
            tally,
            _labels(name, tally, gathered.samples),
            _judged(tally),
        )
        for name, tally in gathered.summary.label_sets.items()
    ]


def _labels(name: str, tally: LabelSetTally, samples: JobSamples) -> tuple[ShownLabel, ...]:
    """The labels, those that matched most first."""
    ordered = sorted(tally.labels.items(), key=lambda each: -each[1].matched)
    return tuple(
        ShownLabel(label, counts, bars(counts.scores), _bands(name, label, counts, samples))
        for label, counts in ordered
    )


def _bands(
    name: str, label: str, counts: LabelTally, samples: JobSamples
) -> tuple[tuple[str, int, list[Shown]], ...]:
    wide = BINS // BANDS
    found = []
    for band in reversed(range(BANDS)):
        rows = sum(counts.scores[band * wide : (band + 1) * wide])
        title = f"{band / BANDS:.1f} to {(band + 1) / BANDS:.1f}"
        found.append((title, rows, samples.scored(name, label, band)))
    return tuple(found)


def _judged(tally: LabelSetTally) -> tuple[JudgedLabel, ...]:
    """The labels with evidence, those with the most true rows first."""
    judged = [
        JudgedLabel(label, each.evidence, tuple(each.evidence.at(edge) for edge in range(1, BINS)))
        for label, each in tally.labels.items()
        if each.evidence is not None
    ]
    return tuple(sorted(judged, key=lambda each: -each.evidence.true_rows))


def _times(rate: Pace | None, marks: int = 5) -> list[datetime]:
    """Evenly spaced times below the chart of the rate."""
    if rate is None:
        return []
    step = (rate.ended_at - rate.began_at) / (marks - 1)
    return [datetime.fromtimestamp(rate.began_at + mark * step, UTC) for mark in range(marks)]


def _prose(text: str) -> Markup:
    """Escaped text, with `backquoted` names marked as code."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part
        for index, part in enumerate(text.split("`"))
    )


def _percent(share: float | None) -> str:
    if share is None:
        return "\N{EN DASH}"
    if 0 < share < 0.001:
        return "<0.1%"
    return f"{share:.1%}"


def _part(share: Share) -> Markup:
    """A share with its interval."""
    if share.value is None:
        return Markup("\N{EN DASH}")
    return Markup("{} <small>{} to {}</small>").format(
        f"{share.value:.1%}", f"{share.low:.1%}", f"{share.high:.1%}"
    )


def _money(amount: float) -> str:
    if 0 < amount < 0.01:
        return "<$0.01"
    return f"${amount:,.2f}"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"


def _span(seconds: float) -> str:
    """A length of time in its two largest units."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    return f"{hours} h {minute} min" if hours else f"{minutes} min {second} s"


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
