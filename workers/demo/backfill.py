"""`clipstream demo --backfill`: a bucket of generated images, classified once, killed on the way.

It starts an S3 server, puts images there, and writes a manifest that says what each of them shows.
It runs `clipstream backfill run` as a person does, kills the driver when some shards are committed,
and runs the same command again. It ends with the report and with queries on what was written.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.adapters.s3.admin import S3Admin
from pipeline.ports import Folder
from workers.backfill.output import Output, open_output
from workers.demo.odd_images import odd_images
from workers.demo.shapes import DemoImage, demo_images
from workers.demo.tables import Rows, Tables
from workers.embedded.processes import ChildProcess, ServiceError, command_environment
from workers.embedded.s3 import MotoS3
from workers.settings.loading import load_settings

SEED = 20_260_102
IMAGES = "demo-images"
DERIVED = "demo-derived"
PREFIX = "shapes/"
OUTPUT = f"s3://{DERIVED}/{PREFIX}"
SIDE_PX = (96, 320)
"""Smaller images than those of the stream's demo: there are many more."""
SHARDS = 16
WORKERS = 2
KILL_AT = 0.3
"""Share of the shards that are committed when the driver is killed."""
COMMIT_S = 300.0
"""Longest wait for another shard. A slow machine needs long to load torch for the first time."""
LOOK_S = 0.5
STOP_S = 45.0
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class _Job:
    """The job's objects, and the command that runs it."""

    admin: S3Admin
    manifest: Path
    settings: Path
    logs: Path
    shards: int

    def committed(self) -> dict[str, str | None]:
        """The data files with their ETags."""
        found = self.admin.list_objects(DERIVED, f"{PREFIX}data/")
        return {each.key: each.etag for each in found}

    def driver(self, name: str, *options: str) -> ChildProcess:
        command = [sys.executable, "-m", "workers.cli", "backfill", "run", str(self.manifest)]
        command += ["--output", OUTPUT, "--config", str(self.settings), *options]
        log = self.logs / f"{name}.log"
        return ChildProcess(name, command, log=log, environment=command_environment())


def run_backfill_demo(console: Console, output: Path, images: int) -> bool:
    """Run the whole demo. Returns whether each image had exactly one outcome, and whether what was
    committed before the kill is unchanged.

    Raises:
        ServiceError: a service did not start, or the job did not go on; the message has the end of
            the log.
    """
    logs, copy = output / "logs", output / "backfill"
    logs.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(copy, ignore_errors=True)
    for earlier in logs.glob("backfill*.log"):
        earlier.unlink()
    with ExitStack() as owned:
        with console.status("starting an S3 server"):
            s3 = owned.enter_context(MotoS3(logs))
        os.environ.update(AWS_ACCESS_KEY_ID=s3.access_key, AWS_SECRET_ACCESS_KEY=s3.secret_key)
        file = output / "backfill.yaml"
        _write_settings(file, s3, images)
        settings = load_settings(file, environment={})
        admin = owned.enter_context(contextlib.closing(S3Admin(settings.s3)))
        manifest = output / "backfill-manifest.jsonl"
        _put_images(console, admin, images, manifest)
        job = _Job(admin, manifest, file, logs, -(-images // _shard_rows(images)))
        before = _run_and_kill(console, job)
        kept = _resume(console, job, before)
        page = output / "backfill-report.html"
        with console.status("making the report"):
            _report(job, page)
        with contextlib.closing(open_output(settings, Output.of(OUTPUT))) as folder:
            _copy(folder, copy)
        dimension = json.loads((copy / "identity.json").read_text())["dimension"]
    with contextlib.closing(Tables(copy)) as tables:
        complete = _tell_rows(console, tables.rows(), images, before, kept=kept)
        for question, query, answer in tables.answers(dimension):
            console.print(f"\n{question}", style="bold")
            console.print(query, style="dim", highlight=False, markup=False, soft_wrap=True)
            console.print(answer.rstrip(), highlight=False, markup=False, soft_wrap=True)
    console.print(f"\nreport   {page}", soft_wrap=True)
    console.print(f"tables   {copy}", soft_wrap=True)
    return complete and kept


def _shard_rows(images: int) -> int:
    """Rows of a shard, so that there are some ``SHARDS`` of them."""
    return max(1, -(-images // SHARDS))


def _write_settings(file: Path, s3: MotoS3, images: int) -> None:
    settings = {
        "s3": {"endpoint": s3.endpoint, "region": s3.region, "allowed_buckets": [IMAGES]},
        "model": {
            "directory": str(HERE / "model"),
            "device": "cpu",
            "precision": "fp32",
            "threads": 1,
        },
        "label_sets": {"paths": [str(HERE / "labels.yaml")], "text_cache_dir": None},
        "decode": {"processes": 1},
        "workers": {"count": WORKERS, "gpus_per_worker": 0, "cpus_per_worker": 1},
        "backfill": {"shard_rows": _shard_rows(images)},
        "endpoints": {"health_port": 0, "metrics_port": 0},
        "log": {"format": "text"},
    }
    file.write_text(
        "# Written by `clipstream demo --backfill`; its S3 server ends with it.\n"
        + yaml.safe_dump(settings, sort_keys=False)
    )


def _put_images(console: Console, admin: S3Admin, count: int, manifest: Path) -> None:
    """Upload the images, and list them in a manifest with their versions and what they show."""
    admin.create_bucket(IMAGES)
    admin.create_bucket(DERIVED)
    with _progress(console, "images") as progress, manifest.open("w", encoding="utf-8") as lines:
        task = progress.add_task("generating images, uploading them", total=count)
        for image in _images(count):
            stored = admin.put(IMAGES, image.key, image.body)
            line: dict[str, object] = {"bucket": IMAGES, "key": image.key, "etag": stored.etag}
            if image.truth is not None:
                line["truth"] = [image.truth]
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")
            progress.advance(task)


def _images(count: int) -> Iterator[DemoImage]:
    odd = list(odd_images(SEED))[:count]
    yield from demo_images(SEED, count - len(odd), SIDE_PX)
    yield from odd


def _run_and_kill(console: Console, job: _Job) -> Mapping[str, str | None]:
    """Run the job until some of its shards are committed, and kill its driver. Returns what was
    committed then."""
    driver = job.driver("backfill")
    with ExitStack() as owned:
        owned.callback(driver.stop, STOP_S)
        driver.start()
        _follow(console, job, driver, "backfill run", until=max(1, round(job.shards * KILL_AT)))
        driver.kill()
    before = job.committed()
    console.print(
        f"killed the driver (SIGKILL) with {len(before)} of {job.shards} shards committed",
        style="yellow",
        highlight=False,
    )
    return before


def _resume(console: Console, job: _Job, before: Mapping[str, str | None]) -> bool:
    """Run the same command again, to the end. Returns whether it left alone what was committed."""
    # The first driver is dead, so that there is no lease to wait for.
    driver = job.driver("backfill-resumed", "--take-over")
    with ExitStack() as owned:
        owned.callback(driver.stop, STOP_S)
        driver.start()
        _follow(console, job, driver, "the same command again", until=job.shards)
        # The driver still writes its own report and lets its workers go.
        _wait(driver)
    after = job.committed()
    return all(after.get(name) == etag for name, etag in before.items())


def _follow(console: Console, job: _Job, driver: ChildProcess, what: str, *, until: int) -> None:
    """Show the commits until there are enough.

    Raises:
        ServiceError: the driver ended before, or committed nothing for long.
    """
    done, since = 0, time.monotonic()
    with _progress(console, "shards") as progress:
        task = progress.add_task(what, total=job.shards)
        while done < until:
            running = driver.running
            seen = len(job.committed())
            if seen > done:
                done, since = seen, time.monotonic()
                progress.update(task, completed=done)
            elif not running:
                raise ServiceError(
                    f"the job ended with {done} of {job.shards} shards; its log says:\n"
                    f"{driver.log_tail()}"
                )
            elif time.monotonic() - since > COMMIT_S:
                raise ServiceError(
                    f"no shard was committed for {COMMIT_S:g} s; the log of the job says:\n"
                    f"{driver.log_tail()}"
                )
            time.sleep(LOOK_S)


def _wait(driver: ChildProcess) -> None:
    deadline = time.monotonic() + COMMIT_S
    while driver.running:
        if time.monotonic() > deadline:
            raise ServiceError(f"the driver does not end; its log says:\n{driver.log_tail()}")
        time.sleep(LOOK_S)
    if driver.exit_status != 0:
        raise ServiceError(
            f"the driver ended with status {driver.exit_status}; its log says:\n{driver.log_tail()}"
        )


def _report(job: _Job, page: Path) -> None:
    command = [sys.executable, "-m", "workers.cli", "backfill", "report", OUTPUT]
    command += ["--thumbnails", "--clear", "--output", str(page), "--config", str(job.settings)]
    done = subprocess.run(  # noqa: S603 - our own command, no shell
        command,
        env=command_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ServiceError(f"the report could not be made:\n{done.stderr}")


def _copy(folder: Folder, to: Path) -> None:
    """The job's objects as files, which are still there when the S3 server has ended."""
    for name in folder.names():
        found = folder.read(name)
        if found is not None:
            file = to / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(found.body)


def _tell_rows(
    console: Console, rows: Rows, images: int, before: Mapping[str, str | None], *, kept: bool
) -> bool:
    complete = rows.classified + rows.failed == rows.objects == images
    console.print(
        f"{rows.classified} images are classified, {rows.failed} are errors: "
        + ("each has exactly one row" if complete else f"NOT one row for each of {images}"),
        style="green" if complete else "red",
        highlight=False,
    )
    console.print(
        f"the {len(before)} files committed before the kill are "
        + ("unchanged" if kept else "NOT unchanged"),
        style="green" if kept else "red",
        highlight=False,
    )
    return complete


def _progress(console: Console, what: str) -> Progress:
    return Progress(
        TextColumn("{task.description:>34}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        TimeElapsedColumn(),
        console=console,
    )
