"""`python -m tests.fault.backfill.kills`: drivers and workers of backfills are killed at every step
of a shard's life, drivers run in twos, and a judge counts the rows.

Each round is a job of its own on a real S3 server, with the real planning files, supervisor,
dispatcher, worker, decoders and commits, and a model that costs nothing. Ray is left out: its part
is to start processes and to tell when they have died.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import yaml

from deploy.dev.versitygw import VersityS3
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.folder import S3Folder
from pipeline.backfill import layout
from tests.fault.backfill.dying import Fates
from tests.fault.backfill.judge import LABEL_SET, Committed, Rows, Verdict, judge, rows_of
from tests.fault.backfill.local_driver import drive
from tests.fault.backfill.local_workers import PROCESSES
from tests.rigs.backfill.planned import planned
from tests.rigs.checkout import commit
from tests.rigs.root import RESULTS
from tests.rigs.stages.decoding import as_file, noise
from workers.settings.loading import load_settings

SUMMARY = RESULTS / "backfill-kills.json"
PHOTOS, DERIVED = "photos", "derived"
GOOD, SHARDS, SHARD_ROWS = 12, 40, 30
WORKERS = 2
KILLS_A_ROUND = 20
LOOK_S = 0.5
SECOND_DRIVER = 0.05
"""How likely a driver is started beside one that lives, at each look."""

STUCK_S = 600.0
"""A job is stuck when for so long no shard was committed and no process died."""


class Bench:
    """A server with images, and settings of the driver."""

    def __init__(self, folder: Path, s3: VersityS3) -> None:
        self.folder = folder
        policy = {"endpoint": s3.endpoint, "region": s3.region, "allowed_buckets": [PHOTOS]}
        self.file = folder / "settings.yaml"
        self.file.write_text(
            yaml.safe_dump(
                {
                    "s3": policy,
                    "label_sets": {"paths": [str(LABEL_SET)]},
                    "endpoints": {"health_port": 0, "metrics_port": 0},
                    "workers": {
                        "count": WORKERS,
                        "gpus_per_worker": 0,
                        "max_crashes": 100_000,
                        "grace_s": 5.0,
                    },
                    "decode": {"processes": 1},
                    "model": {"device": "cpu"},
                    "log": {"level": "warning"},
                }
            )
        )
        self.settings = load_settings(self.file, environment={})
        self._environment = {
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        }
        os.environ.update(self._environment)
        # A client takes a second of CPU to make.
        self._admin = S3Admin(self.settings.s3)
        self._admin.create_bucket(PHOTOS)
        self._admin.create_bucket(DERIVED)
        for number in range(GOOD):
            self._admin.put(PHOTOS, f"{number}.png", as_file(noise(20, 20 + number)))
        self._admin.put(PHOTOS, "bad", b"no image")
        self._derived = S3Folder(self.settings.s3, DERIVED, "")

    def close(self) -> None:
        self._derived.close()
        self._admin.close()

    def plan(self, shards: int = SHARDS, shard_rows: int = SHARD_ROWS) -> str:
        """A job; returns its output."""
        name = uuid.uuid4().hex
        out = S3Folder(self.settings.s3, DERIVED, f"{name}/")
        keys = [*(f"{number}.png" for number in range(GOOD)), "bad", "gone.png"]
        named = [keys[number % len(keys)] for number in range(shards * shard_rows)]
        planned(out, PHOTOS, named, shard_rows, id=name)
        out.close()
        return f"s3://{DERIVED}/{name}"

    def driver(self, output: str, fates: Fates, seed: int) -> BaseProcess:
        log = self.folder / "drivers.log"
        given = (self.file, output, self._environment, fates, seed, log)
        process = PROCESSES.Process(target=drive, args=given)
        process.start()
        return process

    def files(self, output: str, prefix: str) -> dict[str, str]:
        """Names below a prefix, with their ETags."""
        name = output.rpartition("/")[2]
        return {
            each.key.partition("/")[2]: each.etag or ""
            for each in self._admin.list_objects(DERIVED, f"{name}/{prefix}")
        }

    def read(self, output: str, name: str) -> bytes:
        found = self._derived.read(f"{output.rpartition('/')[2]}/{name}")
        assert found is not None
        return found.body


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    with (
        tempfile.TemporaryDirectory(prefix="clipstream-kills-") as name,
        VersityS3(Path(name) / "s3") as s3,
        contextlib.closing(Bench(Path(name), s3)) as built,
    ):
        yield built


def rows_in(here: Bench, output: str) -> Rows:
    """What a reader finds of each row of a job."""
    return rows_of(here.files(output, layout.DATA), partial(here.read, output))


def calm(here: Bench) -> Rows:
    """The rows of an undisturbed run."""
    output = here.plan()
    quiet = Fates(here.folder / "calm", 0)
    driver = here.driver(output, quiet, 0)
    driver.join(STUCK_S)
    assert driver.exitcode == 0
    return rows_in(here, output)


def run_round(
    here: Bench,
    expected: Rows,
    kills: int,
    rng: random.Random,
    verdict: Verdict,
) -> None:
    """One job, whose processes die ``kills`` times and then are left in peace."""
    output = here.plan()
    fates = Fates(here.folder / f"deaths-{verdict.rounds}", kills)
    drivers: list[BaseProcess] = []
    committed = Committed()
    moved, moved_at = (0, 0), time.monotonic()
    try:
        while len(committed.files) < SHARDS and time.monotonic() < moved_at + STUCK_S:
            alive = [each for each in drivers if each.exitcode is None]
            if not alive or (len(alive) == 1 and rng.random() < SECOND_DRIVER):
                drivers.append(here.driver(output, fates, rng.randrange(2**32)))
                verdict.drivers += 1
                verdict.drivers_in_twos += bool(alive)
            time.sleep(LOOK_S)
            committed.look(here.files(output, layout.DATA))
            if moved != (len(committed.files), fates.deaths):
                moved, moved_at = (len(committed.files), fates.deaths), time.monotonic()
        verdict.stuck += len(committed.files) < SHARDS
    finally:
        for each in drivers:
            each.kill()
            each.join()
    verdict.rounds += 1
    verdict.kills += fates.deaths
    verdict.by_fate.update(fates.met)
    committed.look(here.files(output, layout.DATA))
    verdict.rewritten += committed.rewritten
    judge(expected, rows_in(here, output), verdict)


def run(kills: int, seed: int, tell: Callable[[Verdict], None] = lambda so_far: None) -> Verdict:
    """Rounds until so many processes were killed. ``tell`` hears of each round."""
    rng = random.Random(seed)
    verdict = Verdict()
    with bench() as here:
        expected = calm(here)
        while verdict.kills < kills and not verdict.stuck:
            most = min(KILLS_A_ROUND, kills - verdict.kills)
            run_round(here, expected, most, rng, verdict)
            tell(verdict)
    return verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=SUMMARY)
    arguments = parser.parse_args()
    began = time.monotonic()
    head = commit()

    def tell(so_far: Verdict) -> None:
        """Also of a run that is ended early, the summary is there."""
        seconds = round(time.monotonic() - began)
        told = so_far.told() | {"seed": arguments.seed, "seconds": seconds, "commit": head}
        arguments.output.write_text(json.dumps(told, indent=1) + "\n")
        clean = "clean" if so_far.clean else "NOT CLEAN"
        print(
            f"{so_far.kills} of {arguments.kills} killed, {so_far.rows} rows judged: {clean}",
            flush=True,
        )

    verdict = run(arguments.kills, arguments.seed, tell)
    print(arguments.output.read_text())
    return 0 if verdict.clean else 1


if __name__ == "__main__":
    sys.exit(main())
