"""A whole stream worker whose S3 store fails in every way: faults that pass cost nothing, those of
one object cost that object, and an outage costs nothing but time."""

from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import Halt
from tests.fault.s3_proxy import OF_WRITES, Fault
from tests.fault.s3_rig import (
    DEADLINE_S,
    OPEN_S,
    Running,
    Store,
    store_behind_a_proxy,
    working,
)
from tests.rigs.waiting import eventually
from workers.embedded.s3 import S3Server

pytestmark = pytest.mark.component

OUTAGE_S = 6 * DEADLINE_S
"""Longer by far than what a fetch or the breaker waits, as an hour is with settings of
production."""
SOME, OTHERS = 6, 24
PASSING = [fault for fault in Fault if fault not in {Fault.MISSING, Fault.CHANGED, *OF_WRITES}]
WINDOW = 20


@pytest.fixture(scope="module")
def store(s3_server: S3Server) -> Iterator[Store]:
    with store_behind_a_proxy(s3_server) as store:
        yield store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worker")


@pytest.fixture(scope="module")
def shared(kafka_bootstrap: str, store: Store, folder: Path) -> Iterator[Running]:
    with working(kafka_bootstrap, store, folder) as running:
        yield running


@pytest.fixture
def running(shared: Running, store: Store) -> Iterator[Running]:
    """One worker for all tests that it survives; each of them has objects of its own."""
    yield shared
    store.proxy.heal()


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name.lower())
def test_a_fault_that_passes_is_retried_and_everything_is_classified(
    running: Running, store: Store, fault: Fault
) -> None:
    keys = store.bucket.fill(SOME + OTHERS)
    before, dead = running.classified(), running.dead_letters()
    store.proxy.inject(fault, *keys[:SOME], times=1)
    running.send(keys)
    running.until_done()
    assert running.classified() == sorted(before + keys)
    assert running.dead_letters() == dead
    # A late answer is an answer; after any other fault the object was asked for again.
    attempts = 1 if fault is Fault.LATENCY else 2
    assert all(store.proxy.asked(key) >= attempts for key in keys[:SOME])


def test_what_is_final_costs_its_own_object_alone(running: Running, store: Store) -> None:
    bucket, proxy = store.bucket, store.proxy
    good = bucket.fill(OTHERS)
    before, dead = running.classified(), running.dead_letters()
    answered_404, answered_412, refused, failing = bucket.fill(4)
    (replaced,) = bucket.fill(1)
    proxy.inject(Fault.MISSING, answered_404)
    proxy.inject(Fault.CHANGED, answered_412)
    proxy.inject(Fault.FORBIDDEN, refused)
    proxy.inject(Fault.BROKEN, failing)
    running.send_references(
        [
            bucket.reference(replaced, etag="0" * 32),
            bucket.reference(answered_412, etag="0" * 32),
            *map(bucket.reference, ["never/uploaded", answered_404, refused, failing, *good]),
        ]
    )
    running.until_done()
    assert running.classified() == sorted(before + good)
    assert running.dead_letters() == dead | {
        "never/uploaded": "fetch.not_found",
        answered_404: "fetch.not_found",
        answered_412: "fetch.superseded",
        replaced: "fetch.superseded",
        refused: "fetch.forbidden",
        failing: "fetch.failed",
    }
    # News of an object that is not there is final at once; of any other failure a second is wanted.
    attempts = running.attempts()
    for key in ("never/uploaded", answered_404, answered_412, replaced):
        assert attempts[key] == 1
    assert attempts[refused] >= 2
    assert attempts[failing] >= 2


def nobody_listens(store: Store) -> None:
    store.proxy.refuse()


def everything_is(fault: Fault) -> Callable[[Store], None]:
    return lambda store: store.proxy.inject(fault)


@pytest.mark.parametrize(
    "begin",
    [
        nobody_listens,
        everything_is(Fault.SLOW_DOWN),
        everything_is(Fault.UNKNOWN_KEY_ID),
        everything_is(Fault.FORBIDDEN),
    ],
    ids=["connections refused", "503 for all", "credentials revoked", "403 for all"],
)
def test_an_outage_pauses_intake_and_work_resumes_by_itself(
    running: Running, store: Store, begin: Callable[[Store], None]
) -> None:
    keys = store.bucket.fill(SOME + OTHERS)
    running.send(keys[:SOME])
    running.until_done()
    before, dead, done = running.classified(), running.dead_letters(), running.committed()

    begin(store)
    began, asked = time.monotonic(), store.proxy.asked()
    running.send(keys[SOME : 2 * SOME])
    eventually(lambda: running.breaker_open() and running.paused())
    running.send(keys[2 * SOME :])
    eventually(lambda: time.monotonic() - began > OUTAGE_S)

    assert running.breaker_open()
    assert running.paused()
    assert running.worker.health().unfinished <= SOME, "taken in during the outage"
    assert running.classified() == before
    assert running.dead_letters() == dead
    assert running.committed() == done
    # One request at a time asks whether the store is back; the rest were under way at first.
    assert store.proxy.asked() - asked <= (time.monotonic() - began) / OPEN_S + 4 * SOME

    store.proxy.heal()
    running.until_done()
    assert running.classified() == sorted(before + keys[SOME:])
    assert running.dead_letters() == dead
    assert not running.breaker_open()


def test_a_stream_of_missing_objects_halts_before_anything_is_committed(
    kafka_bootstrap: str, store: Store, folder: Path
) -> None:
    budget = {"failure_budget": {"window": WINDOW, "hold_s": 60.0}}
    with working(kafka_bootstrap, store, folder, budget) as running:
        running.send([f"never/{number}" for number in range(2 * WINDOW)])
        eventually(lambda: running.ended)
        assert isinstance(running.error, Halt)
        assert running.error.code == "budget.spent"
        assert "fetch stage" in str(running.error)
        assert running.committed() == 0
        assert running.dead_letters() == {}
        assert running.classified() == []


def test_missing_objects_do_not_halt_a_worker_that_reads_others_of_their_bucket(
    kafka_bootstrap: str, store: Store, folder: Path
) -> None:
    good = store.bucket.fill(SOME)
    missing = [f"deleted/{number}" for number in range(3 * WINDOW)]
    budget = {"failure_budget": {"window": WINDOW, "hold_s": 60.0}}
    with working(kafka_bootstrap, store, folder, budget) as running:
        running.send(good)
        running.until_done()
        running.send(missing)
        running.until_done()
        assert running.classified() == good
        assert running.dead_letters() == dict.fromkeys(missing, "fetch.not_found")
        # Nor do references that are refused unread.
        refused = [
            json.dumps({"bucket": bucket, "key": f"{number}", "label_sets": sets}).encode()
            for number in range(2 * WINDOW)
            for bucket, sets in (("not-allowed", []), (store.bucket.name, ["not-loaded"]))
        ]
        before = running.committed()
        running.send_references(refused)
        eventually(lambda: running.committed() == before + len(refused))
        assert not running.ended


def test_bad_objects_of_one_partition_do_not_hold_up_another(
    kafka_bootstrap: str, store: Store, folder: Path
) -> None:
    """On a real broker: many objects of each kind, in the partition beside that of good ones."""
    kinds = (Fault.FORBIDDEN, Fault.BROKEN, Fault.LONG_ANNOUNCED)
    bad = [store.bucket.fill(20) for _ in kinds]
    before, good = store.bucket.fill(2 * SOME), store.bucket.fill(OTHERS)
    patient = {"fetch": {"deadline_s": 20.0, "max_refusals": 50, "max_open_objects": 16}}
    with working(kafka_bootstrap, store, folder, patient) as running:
        running.send(before)
        running.until_done()
        for kind, keys in zip(kinds, bad, strict=True):
            store.proxy.inject(kind, *keys)
        spoilt = [store.bucket.reference(key) for keys in bad for key in keys]
        running.send_references(spoilt, partition=1)
        eventually(lambda: all(store.proxy.asked(keys[0]) >= 2 for keys in bad[:2]))
        running.send_references([store.bucket.reference(key) for key in good], partition=0)
        eventually(lambda: running.classified() == sorted(before + good))
        assert running.dead_letters() == {}, "the bad ones have not been settled yet"
        assert not running.breaker_open()
        store.proxy.heal()
        running.until_done()


def test_a_stream_of_mostly_corrupt_images_does_not_halt(
    kafka_bootstrap: str, store: Store, folder: Path
) -> None:
    corrupt = [f"corrupt/{number}" for number in range(3 * WINDOW)]
    rng = random.Random(1)
    for key in corrupt:
        store.bucket.put(key, cut_off(rng))
    good = store.bucket.fill(SOME)
    budget = {"failure_budget": {"window": WINDOW, "hold_s": 60.0}}
    with working(kafka_bootstrap, store, folder, budget) as running:
        running.send(corrupt + good)
        running.until_done()
        assert running.classified() == good
        assert running.dead_letters() == dict.fromkeys(corrupt, "decode.truncated")


def cut_off(rng: random.Random) -> bytes:
    image = Image.new("RGB", (64, 64), (rng.randrange(256), 0, 0))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()[:-40]
