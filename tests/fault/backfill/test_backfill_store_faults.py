"""A backfill whose store fails, and whose objects are not as its manifest says, on real S3 servers;
a judge counts its rows.

The driver and its worker are the product's. The worker is a thread in place of a Ray actor, and the
model costs nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.folder import S3Folder
from pipeline.adapters.s3.policy import S3Policy
from pipeline.backfill import layout
from pipeline.errors import StoreDenied
from pipeline.ports import Folder
from tests.fault.backfill.judge import LABEL_SET, Row, Rows, Verdict, judge, rows_of
from tests.fault.backfill.model import Model
from tests.fault.backfill.steps import BEFORE_DATA, SteppedFolder
from tests.fault.s3_proxy import Fault, S3Proxy
from tests.rigs.backfill.in_process import run_here
from tests.rigs.stages.decoding import as_file, noise
from workers.backfill import shard
from workers.backfill.planning_request import Request
from workers.embedded.s3 import S3Server
from workers.settings.loading import load_settings
from workers.supervise.supervisor import ExitCode

pytestmark = [pytest.mark.component, pytest.mark.timeout(600)]

PHOTOS, DERIVED, ODD = "faulty-photos", "faulty-derived", "faulty-odd"
GOOD, SHARD_ROWS = 45, 12
BAD = 120
"""More than the failed rows that never halt a job."""

DOWN_S = 3.0
"""Calls to the output fail meanwhile, and images are waited for."""

PATHS = ["é + %2B.png", ("d" * 200 + "/") * 5 + "k" * 15 + ".png"]
"""Odd keys that a server on files holds too."""
NO_PATHS = ["a//b.png", "../up.png", "a/../b.png", "./c.png", "\x01\x1f.png", "k" * 1020 + ".png"]

Manifest = Sequence[Mapping[str, str]]


@dataclass
class World:
    """Servers with objects, and jobs that read them."""

    folder: Path
    settings: Path
    proxy: S3Proxy
    """In front of the server of photos and results."""
    derived: Folder
    """The bucket of results, past the proxy."""

    def run(
        self,
        name: str,
        rows: Manifest,
        around: Callable[[Folder], Folder] = lambda folder: folder,
        **flags: Any,
    ) -> ExitCode:
        """The command with a manifest of these rows. ``flags`` are settings of `backfill`."""
        manifest = self.folder / f"{name}.jsonl"
        manifest.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        named = {f"backfill.{key}": value for key, value in flags.items()}
        settings = load_settings(self.settings, flags=named, environment={})
        request = Request.of(str(manifest))
        return run_here(settings, request, f"s3://{DERIVED}/{name}", lambda _: Model(), around)

    def committed(self, name: str) -> list[str]:
        return list(self.derived.names(f"{name}/{layout.DATA}"))

    def rows(self, name: str) -> Rows:
        """What a reader finds in the output."""

        def read(file: str) -> bytes:
            found = self.derived.read(f"{name}/{file}")
            assert found is not None
            return found.body

        return rows_of([each.removeprefix(f"{name}/") for each in self.committed(name)], read)


@dataclass(frozen=True)
class Objects:
    """Rows of a manifest, and what each of their objects is: the digest of its bytes, or the code
    of its failure."""

    manifest: Manifest
    truth: Mapping[str, str]


class Storm:
    """Faults of a store that pass: each write of a job's first data files meets another one."""

    def __init__(self, proxy: S3Proxy, job: str) -> None:
        self._proxy = proxy
        self._job = job
        self._writes = itertools.count()
        self._back = threading.Timer(DOWN_S, proxy.accept)

    def around(self, folder: Folder) -> Folder:
        return SteppedFolder(folder, self._reached)

    def over(self) -> None:
        self._back.join()

    def _reached(self, step: str, name: str) -> None:
        if step != BEFORE_DATA:
            return
        match next(self._writes):
            case 0:
                self._proxy.inject(Fault.LOST, f"{self._job}/{name}", times=1)
            case 1:
                self._proxy.inject(Fault.CONFLICT, f"{self._job}/{name}", times=1)
            case 2:
                self._proxy.refuse()
                self._back.start()


@pytest.fixture(scope="module")
def world(
    s3_server: S3Server, moto_s3: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("store-faults")
    here = {"endpoint": s3_server.endpoint, "region": s3_server.region}
    with pytest.MonkeyPatch.context() as environment, contextlib.ExitStack() as owned:
        environment.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
        environment.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
        proxy = owned.enter_context(S3Proxy(s3_server.endpoint))
        odd = {"name": "odd", "endpoint": moto_s3.endpoint, "region": moto_s3.region}
        settings = folder / "settings.yaml"
        settings.write_text(
            yaml.safe_dump(
                {
                    "s3": here | {"endpoint": proxy.endpoint, "allowed_buckets": [PHOTOS]},
                    "stores": [odd | {"allowed_buckets": [ODD]}],
                    "label_sets": {"paths": [str(LABEL_SET)]},
                    "endpoints": {"health_port": 0, "metrics_port": 0},
                    "workers": {"count": 1, "gpus_per_worker": 0},
                    "decode": {"processes": 1},
                    "model": {"device": "cpu"},
                    "retry": {"first_wait_s": 0.05, "longest_wait_s": 0.2},
                    "breaker": {"open_s": 0.1},
                    "backfill": {"shard_rows": SHARD_ROWS},
                }
            )
        )
        derived = S3Folder(S3Policy.model_validate(here), DERIVED, "")
        owned.callback(derived.close)
        yield World(folder, settings, proxy, derived)


@pytest.fixture(scope="module")
def objects(s3_server: S3Server, moto_s3: S3Server, world: World) -> Objects:
    """Images, and four other kinds of objects. Some were written anew and some deleted after the
    manifest was made. Some are no images, and some have keys that are no paths."""
    truth: dict[str, str] = {}
    rows: list[dict[str, str]] = []
    images = (as_file(noise(20, 20 + number)) for number in itertools.count())

    def add(admin: S3Admin, bucket: str, key: str, body: bytes, code: str | None = None) -> None:
        etag = admin.put(bucket, key, body).etag
        assert etag is not None
        rows.append({"bucket": bucket, "key": key, "etag": etag})
        truth[key] = code or hashlib.sha256(body).hexdigest()

    for server, bucket, keys in (
        (moto_s3, ODD, NO_PATHS),
        (s3_server, PHOTOS, [*PATHS, *(f"{number}.png" for number in range(GOOD))]),
    ):
        policy = S3Policy(endpoint=server.endpoint, region=server.region)
        with contextlib.closing(S3Admin(policy)) as admin:
            admin.create_bucket(bucket)
            for key in keys:
                add(admin, bucket, key, next(images))
            if server is s3_server:
                admin.create_bucket(DERIVED)
                add(admin, bucket, "bad", b"no image", "decode.unsupported_format")
                add(admin, bucket, "changed", next(images), "fetch.superseded")
                admin.put(bucket, "changed", next(images))
                add(admin, bucket, "deleted", next(images), "fetch.not_found")
                admin.delete(bucket, "deleted")
    return Objects(rows, truth)


@pytest.fixture(scope="module")
def undisturbed(world: World, objects: Objects) -> Rows:
    assert world.run("undisturbed", objects.manifest) is ExitCode.OK
    return world.rows("undisturbed")


def judged(expected: Rows, found: Rows) -> Verdict:
    verdict = Verdict()
    judge(expected, found, verdict)
    return verdict


def test_each_object_has_one_row_whatever_became_of_it_and_however_it_is_named(
    objects: Objects, undisturbed: Rows
) -> None:
    rows = [row for (row,) in undisturbed.values()]
    assert len(rows) == len(objects.truth)
    assert {row.key: row.sha256 or row.outcome for row in rows} == objects.truth


def test_faults_of_the_store_that_pass_change_no_row(
    world: World, objects: Objects, undisturbed: Rows
) -> None:
    proxy = world.proxy
    proxy.inject(Fault.SLOW_DOWN, *objects.truth, times=2)
    storm = Storm(proxy, "disturbed")
    assert world.run("disturbed", objects.manifest, storm.around) is ExitCode.OK
    storm.over()
    proxy.heal()
    verdict = judged(undisturbed, world.rows("disturbed"))
    assert verdict.clean, verdict
    assert proxy.met(Fault.SLOW_DOWN) >= 2 * GOOD
    assert (proxy.met(Fault.LOST), proxy.met(Fault.CONFLICT)) == (1, 1)


def test_an_output_that_refuses_results_halts_the_job_which_goes_on_once_it_may(
    world: World, objects: Objects, undisturbed: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    one_shard = objects.manifest[:SHARD_ROWS]
    with pytest.raises(StoreDenied, match=r"output s3://faulty-derived/refused/.*s3:PutObject"):
        with_refusals(world, "refused", one_shard)
    world.proxy.inject(Fault.FORBIDDEN, f"refused/{layout.data_file(0)}")
    with mock.patch.object(shard, "PATIENCE_S", (0.0,)):
        assert world.run("refused", one_shard) is ExitCode.HALTED
    assert "backfill.output_refused" in caplog.text
    assert world.committed("refused") == []
    world.proxy.heal()
    assert world.run("refused", one_shard) is ExitCode.OK
    first = {place: rows for place, rows in undisturbed.items() if place[0] == 0}
    verdict = judged(first, world.rows("refused"))
    assert verdict.clean, verdict


def with_refusals(world: World, name: str, rows: Manifest) -> None:
    """A run in which the store refuses everything."""
    world.proxy.inject(Fault.FORBIDDEN)
    try:
        world.run(name, rows)
    finally:
        world.proxy.heal()


def test_a_job_of_bad_images_alone_halts_until_a_person_accepts_them(
    world: World, objects: Objects, caplog: pytest.LogCaptureFixture
) -> None:
    assert objects.truth["bad"] == "decode.unsupported_format"
    rows = [{"bucket": PHOTOS, "key": "bad"}] * BAD
    assert world.run("bad", rows, shard_rows=BAD) is ExitCode.HALTED
    assert "backfill.too_many_failures" in caplog.text
    assert world.committed("bad") == []
    assert world.run("bad", rows, max_failed_share=1.0) is ExitCode.OK
    expected = {(0, number): [Row("bad", "decode.unsupported_format")] for number in range(BAD)}
    verdict = judged(expected, world.rows("bad"))
    assert verdict.clean, verdict
