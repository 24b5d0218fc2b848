"""`clipstream backfill run --dry-run`: what a job would be, and what it would take. Writes
nothing."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from rich.console import Console

from pipeline.adapters.manifests.kinds import InputKind
from pipeline.adapters.parquet.cutting import Rows, bytes_by_bucket
from pipeline.adapters.s3.connection import own_region
from pipeline.adapters.s3.downloads import S3Downloads
from pipeline.backfill import cost
from pipeline.backfill.cost import Estimate, Pace
from pipeline.backfill.job import Job, read_job
from pipeline.decode.policy import DecodePolicy
from workers.backfill.output import Output, open_output
from workers.backfill.planning import Planned, cut
from workers.backfill.planning_request import Request
from workers.commands.backfill.new_job import shard_rows
from workers.commands.progress import open_ended
from workers.settings.loading import Settings

_NO_ATTEMPT = "dry-run"


@dataclass(frozen=True, slots=True)
class Asked:
    """``rows_per_second`` is the rate of one worker; ``sample_rate`` measures the rate on so many
    objects."""

    gpu_hour_price: float | None = None
    rows_per_second: float | None = None
    sample_rate: int | None = None
    cluster_region: str | None = None


@dataclass(slots=True)
class _Seen:
    """What the rows of a plan say beyond their number: those whose objects are read."""

    bytes_of: Counter[str] = field(default_factory=Counter)
    without_size: int = 0

    def add(self, rows: Rows) -> None:
        self.bytes_of.update(bytes_by_bucket(rows))
        self.without_size += rows.column("size_bytes").null_count


def dry_run(
    settings: Settings, request: Request, output: str, asked: Asked, console: Console
) -> None:
    """Print what a job would be.

    Raises:
        Halt: what would stop the job's plan.
        StoreDenied, Retry: a store failed.
    """
    with contextlib.closing(open_output(settings, Output.of(output))) as folder:
        existing = read_job(folder)
    if existing is not None:
        request.require_same(existing)
        console.print(
            f"{output} has this job already: {existing.rows:,} rows in {existing.shards:,} shards. "
            "The same command without --dry-run goes on with it.",
            markup=False,
            highlight=False,
        )
        return
    seen, sampled = _Seen(), None
    if asked.sample_rate is not None:
        # Imported here because it imports torch.
        from workers.backfill.planning_rate import Sampled

        sampled = Sampled(asked.sample_rate)

    def each(rows: Rows) -> None:
        seen.add(rows)
        if sampled is not None:
            sampled.add(rows)

    progress = open_ended(Console(stderr=True))
    with progress:
        task = progress.add_task("0 rows")

        def tell(planned: Planned) -> bool:
            progress.update(
                task, description=f"{planned.rows:,} rows of {planned.read:,} entries read"
            )
            return True

        job = cut(settings, request, shard_rows(settings), _NO_ATTEMPT, None, tell, each)
        if sampled is not None and sampled.rows is not None:
            from workers.backfill.planning_rate import measured_rate

            progress.update(task, description="measuring the rate of this machine")
            rate = measured_rate(settings, job, sampled.rows)
            asked = replace(asked, rows_per_second=rate)
    regions = _regions(settings, seen.bytes_of)
    home = asked.cluster_region or own_region()
    elsewhere = {
        bucket: seen.bytes_of[bucket]
        for bucket, region in regions.items()
        if region is not None and home is not None and region != home
    }
    found = cost.estimate(
        job,
        _pace(settings, asked),
        listed=request.kind is InputKind.LISTING,
        bytes_elsewhere=elsewhere,
    )
    for line in [
        *_of_plan(job, seen),
        *_of_views(settings.decode, asked),
        *_of_time(settings, found, asked),
        *_of_money(found, regions, home),
    ]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print("Nothing was written.", markup=False, highlight=False)


def _pace(settings: Settings, asked: Asked) -> Pace | None:
    if asked.rows_per_second is None:
        return None
    return Pace(
        asked.rows_per_second, settings.workers.count, _gpus(settings), asked.gpu_hour_price
    )


def _gpus(settings: Settings) -> float:
    """GPUs of a worker. What `auto` finds is known on the cluster alone, so it counts as one."""
    gpus = settings.workers.gpus_per_worker
    if gpus != "auto":
        return gpus
    return 0.0 if settings.model.device == "cpu" or settings.model.precision == "int8" else 1.0


def _regions(settings: Settings, buckets: Counter[str]) -> dict[str, str | None]:
    """Where AWS has the buckets; None for another store."""
    found: dict[str, str | None] = {}
    for bucket in buckets:
        store = settings.s3_store_named(bucket)
        if store.endpoint is not None:
            found[bucket] = None
            continue
        with contextlib.closing(S3Downloads(store)) as downloads:
            found[bucket] = downloads.region(bucket)
    return found


def _of_plan(job: Job, seen: _Seen) -> Iterator[str]:
    yield f"source     {job.source.uri} ({job.source.kind})"
    yield f"rows       {job.rows:,}"
    if job.left_out:
        reasons = (f"{count:,} {reason}" for reason, count in job.left_out.items())
        yield f"left out   {', '.join(reasons)}"
    if job.removed is not None:
        yield f"removed    {job.removed:,} objects of earlier jobs are gone from the source"
    if job.repeated:
        yield f"repeated   {job.repeated:,} rows name an object that an earlier row names too"
    if job.copies is not None:
        yield f"copies     {job.copies:,} rows, whose objects are not read"
    unknown = f", without {seen.without_size:,} rows of unknown size" if seen.without_size else ""
    read = f", of which {_size(seen.bytes_of.total())} are read" if job.copies else ""
    yield f"bytes      {_size(job.bytes)}{read}{unknown}"
    yield f"shards     {job.shards:,} of at most {job.shard_rows:,} rows"


def _of_views(decode: DecodePolicy, asked: Asked) -> Iterator[str]:
    if decode.views == "centre":
        return
    yield (
        f"views      up to {decode.max_views} an image (decode.views: all); each costs the model "
        "as much as an image"
    )
    if asked.rows_per_second is not None and asked.sample_rate is None:
        yield "           the given rate must be one with these views; --sample-rate measures it"


def _of_time(settings: Settings, found: Estimate, asked: Asked) -> Iterator[str]:
    if found.hours is None:
        yield "hours      unknown; add --rows-per-second RATE, or --sample-rate 500 to measure it"
        return
    how = "as given" if asked.sample_rate is None else "as measured on this machine"
    pace = f"{settings.workers.count} workers of {asked.rows_per_second:,.2f} rows/s"
    yield f"hours      {found.hours:,.2f} with {pace}, {how}"
    yield f"GPU hours  {found.gpu_hours:,.2f} with {_gpus(settings):g} GPUs a worker"


def _of_money(found: Estimate, regions: dict[str, str | None], home: str | None) -> Iterator[str]:
    if found.gpu_price is not None:
        yield f"GPUs       ${found.gpu_price:,.2f}"
    elif found.hours is not None:
        yield "GPUs       unknown; add --gpu-hour-price DOLLARS"
    else:
        yield "GPUs       unknown, as the hours are"
    whose = "" if any(regions.values()) else "; this store is not AWS, whose prices may differ"
    yield f"GET        ${found.get_price:,.2f} (AWS's list prices of {cost.PRICES_OF}{whose})"
    yield f"LIST       ${found.list_price:,.2f}"
    yield f"PUT        ${found.put_price:,.2f}"
    for bucket, region in regions.items():
        if region is not None and home is None:
            yield f"transfer   unknown; {bucket} is in {region}, add --cluster-region REGION"
        elif (price := found.transfer_prices.get(bucket)) is not None:
            per_gb = f"${cost.TRANSFER_PRICE_PER_GB} a GB, the list price of most regions"
            yield f"transfer   ${price:,.2f} from {bucket} in {region} to {home}, at {per_gb}"
    if found.total is None:
        yield "total      unknown"
    elif home is None and any(regions.values()):
        yield f"total      ${found.total:,.2f} and the transfer"
    else:
        yield f"total      ${found.total:,.2f}"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} PB"
