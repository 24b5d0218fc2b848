"""The jars are those of the lock, whatever a repository or a disk did to them."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import Counter
from pathlib import Path

import pytest

from workers.embedded.jars import (
    DOWNLOAD_ATTEMPTS,
    KAFKA_LOCK,
    KAFKA_VERSION,
    ROOTS,
    Jar,
    ensure,
    read_lock,
)
from workers.embedded.processes import ServiceError

CONTENTS = {f"part-{number}.jar": f"classes of part {number}".encode() for number in range(5)}
JARS = [
    Jar(hashlib.sha256(body).hexdigest(), name, f"org.example:{name[:-4]}:1")
    for name, body in CONTENTS.items()
]


class Repository:
    """Serves ``CONTENTS`` and counts what was asked for."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, jar: Jar, folder: Path) -> Path:
        with self._lock:
            self.asked[jar.file_name] += 1
        assert not any(folder.iterdir())
        path = folder / jar.file_name
        path.write_bytes(CONTENTS[jar.file_name])
        return path


def no_network(jar: Jar, folder: Path) -> Path:
    raise ConnectionError(f"no route to the repository of {jar.coordinate}")


def holds_all(folder: Path) -> bool:
    return all(jar.is_at(folder / jar.file_name) for jar in JARS)


def test_an_empty_cache_is_filled_once(tmp_path: Path) -> None:
    repository = Repository()
    ensure(JARS, tmp_path / "cache", repository)
    assert holds_all(tmp_path / "cache")
    ensure(JARS, tmp_path / "cache", no_network)
    assert repository.asked == dict.fromkeys(CONTENTS, 1)


def test_a_file_that_was_damaged_is_fetched_again_alone(tmp_path: Path) -> None:
    ensure(JARS, tmp_path, Repository())
    (tmp_path / "part-3.jar").write_bytes(b"half a j")
    repository = Repository()
    ensure(JARS, tmp_path, repository)
    assert holds_all(tmp_path)
    assert repository.asked == {"part-3.jar": 1}


def test_a_file_that_is_not_the_locked_one_never_enters_the_cache(tmp_path: Path) -> None:
    def tampered(jar: Jar, folder: Path) -> Path:
        path = folder / jar.file_name
        path.write_bytes(b"something else")
        return path

    with pytest.raises(ServiceError, match=f"SHA-256 .* locked is {JARS[0].sha256}"):
        ensure(JARS[:1], tmp_path, tampered)
    assert not list(tmp_path.rglob("*.jar"))


def test_a_download_that_fails_is_tried_again(tmp_path: Path) -> None:
    repository = Repository()
    failures = iter([ConnectionError("reset"), RuntimeError("not found")])

    def flaky(jar: Jar, folder: Path) -> Path:
        if (failure := next(failures, None)) is not None:
            raise failure
        return repository(jar, folder)

    ensure(JARS[:1], tmp_path, flaky)
    assert repository.asked == {"part-0.jar": 1}


def test_without_a_network_the_first_jar_is_named_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        ensure(JARS, tmp_path, no_network)
    assert f"in {DOWNLOAD_ATTEMPTS} attempts" in str(caught.value)
    assert "check the network" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock"]


def test_several_at_the_same_time_fetch_each_file_once(tmp_path: Path) -> None:
    repository = Repository()
    together = threading.Barrier(3)
    failures: list[BaseException] = []

    def start() -> None:
        together.wait()
        try:
            ensure(JARS, tmp_path, repository)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert holds_all(tmp_path)
    assert repository.asked == dict.fromkeys(CONTENTS, 1)


def test_the_committed_lock_is_complete_and_names_no_address() -> None:
    jars = read_lock()
    assert len({jar.file_name for jar in jars}) == len(jars)
    assert {*ROOTS} <= {jar.coordinate for jar in jars}
    for jar in jars:
        group, artifact, version = jar.coordinate.split(":")
        assert jar.file_name == f"{artifact}-{version}.jar"
        assert re.fullmatch(r"[0-9a-f]{64}", jar.sha256)
        if group == "org.apache.kafka":
            assert version == KAFKA_VERSION
    assert "//" not in KAFKA_LOCK.read_text()
