"""A worker that has run out of files or memory ends without an outcome for what it could not do;
one started anew goes on where it stood."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.fault import limited_worker
from tests.fault.limited_worker import FILES, MEMORY, MIB
from tests.fault.s3_rig import Store, Traffic, settings_of, store_behind_a_proxy
from tests.rigs.root import ROOT
from tests.rigs.services.kafka_deployment import Deployment
from tests.rigs.waiting import WAIT_S
from workers.embedded.s3 import S3Server

pytestmark = pytest.mark.component

BEFORE, AFTER = 6, 24
LARGE = 20
LARGE_BYTES = 30 * MIB
SETTINGS: dict[str, dict[str, Any]] = {
    "label_sets": {"text_cache_dir": None},
    "s3": {"read_timeout_s": 30},
    "fetch": {"deadline_s": 120, "max_open_objects": LARGE},
}
"""Patient enough for large objects on a slow machine."""


@pytest.fixture(scope="module")
def store(s3_server: S3Server) -> Iterator[Store]:
    with store_behind_a_proxy(s3_server) as store:
        yield store


@pytest.fixture
def deployment(kafka_bootstrap: str) -> Iterator[Deployment]:
    with Deployment(kafka_bootstrap) as deployment:
        yield deployment


class Child:
    """The process of a worker."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def tell(self, what: str) -> None:
        """Tell it, and wait until it is so."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        self.expect("done")

    def expect(self, line: str) -> None:
        assert self.last_word() == line

    def last_word(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def decoder(self) -> int:
        """The process id of its only decoder."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        children = [(task / "children").read_text().split() for task in tasks.iterdir()]
        (pid,) = [int(pid) for each in children for pid in each]
        return pid


@contextlib.contextmanager
def worker(deployment: Deployment, store: Store, folder: Path) -> Iterator[Child]:
    settings = settings_of(deployment, store, folder, SETTINGS)
    with (
        (folder / "worker.log").open("ab") as log,
        subprocess.Popen(
            [sys.executable, "-m", limited_worker.__name__],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdin is not None
            process.stdin.write(f"{settings.model_dump_json()}\n")
            process.stdin.flush()
            child = Child(process)
            child.expect("ready")
            yield child
        finally:
            process.kill()


@pytest.mark.parametrize("lacking", ["a connection to the store", "a decoder"])
def test_a_worker_without_file_descriptors_ends_and_its_images_are_classified_by_the_next(
    deployment: Deployment, store: Store, tmp_path: Path, lacking: str
) -> None:
    keys = store.bucket.fill(BEFORE + AFTER)
    traffic = Traffic(deployment, store.bucket)
    traffic.send(keys[:BEFORE])
    with worker(deployment, store, tmp_path) as child:
        traffic.until_done()
        if lacking == "a decoder":
            os.kill(child.decoder(), signal.SIGKILL)
        else:
            store.proxy.refuse()
        child.tell(FILES)
        store.proxy.heal()
        traffic.send(keys[BEFORE:])
        assert child.last_word() == f"OSError {errno.EMFILE}"
        assert child.process.wait(WAIT_S) == limited_worker.ENDED_BY
    assert traffic.committed() == BEFORE
    assert traffic.dead_letters() == {}
    with worker(deployment, store, tmp_path):
        traffic.until_done()
    assert traffic.classified() == sorted(keys)


def test_a_worker_out_of_memory_ends_and_its_images_are_classified_by_the_next(
    deployment: Deployment, store: Store, tmp_path: Path
) -> None:
    keys = store.bucket.fill(BEFORE)
    store.bucket.put("large", large_image())
    large = ["large"] * LARGE
    traffic = Traffic(deployment, store.bucket)
    traffic.send(keys)
    with worker(deployment, store, tmp_path) as child:
        traffic.until_done()
        child.tell(MEMORY)
        traffic.send(large)
        # An error of Python's, or an abort of a library that cannot go on.
        assert child.process.wait(WAIT_S) != 0
    # Some of the large images may have fitted one after the other.
    assert BEFORE <= traffic.committed() < BEFORE + LARGE
    assert traffic.dead_letters() == {}
    with worker(deployment, store, tmp_path):
        traffic.until_done()
    assert traffic.classified() == sorted(keys + large)


def large_image() -> bytes:
    """Bytes that follow an image are read, and ignored when it is decoded."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 0, 0)).save(file, "PNG")
    return file.getvalue() + bytes(LARGE_BYTES)
