"""The jars of Apache Kafka: named by a lock file, fetched by jgo, verified and kept in the user's
cache.

``kafka-jars.lock`` has one line for each jar: SHA-256, file name, Maven coordinate. It does not say
where a jar comes from. jgo asks the repositories of its own configuration, and every file must
match the checksum of the lock. ``python -m workers.embedded.jars`` writes the lock again for
``KAFKA_VERSION``; read the difference before you commit it.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workers.embedded.cache import cache_folder, locked
from workers.embedded.processes import ServiceError

if TYPE_CHECKING:
    from jgo.maven import MavenContext

KAFKA_VERSION = "4.3.0"
KAFKA_LOCK = Path(__file__).with_name("kafka-jars.lock")

ROOTS = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    # Logs to standard error without a configuration file. Version 1.x, as Kafka's own slf4j-api.
    "org.slf4j:slf4j-simple:1.7.36",
)

DOWNLOADS_AT_ONCE = 8
DOWNLOAD_ATTEMPTS = 3
DOWNLOAD_SILENCE_S = 20
"""A repository that sends nothing for this long has failed."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One file of a lock. ``coordinate`` is ``group:artifact:version``."""

    sha256: str
    file_name: str
    coordinate: str

    def is_at(self, path: Path) -> bool:
        """Whether the file exists and matches the lock."""
        return path.is_file() and _sha256(path) == self.sha256


Download = Callable[[Jar, Path], Path]
"""Fetches a jar into an empty folder and returns its path there. May raise ``OSError`` (requests'
errors are such) and ``RuntimeError`` (jgo's, when no repository has the file)."""


def read_lock(path: Path = KAFKA_LOCK) -> list[Jar]:
    lines = path.read_text().splitlines()
    return [Jar(*line.split()) for line in lines if line and not line.startswith("#")]


def kafka_jars() -> list[Path]:
    """The locked jars of Kafka. Jars that the user's cache lacks are fetched."""
    folder = cache_folder("kafka", KAFKA_VERSION)
    jars = read_lock()
    ensure(jars, folder, download_with_jgo)
    return [folder / jar.file_name for jar in jars]


def ensure(jars: Iterable[Jar], folder: Path, download: Download) -> None:
    """Make sure that every jar is in the folder, each verified against its checksum.

    Needs no network if all are there. A file that does not match the lock is fetched again and
    replaced in one step, so a broker that runs from the folder keeps its open file. Processes that
    call this at the same time wait for one another.
    """
    missing = [jar for jar in jars if not jar.is_at(folder / jar.file_name)]
    if not missing:
        return
    with (
        locked(folder),
        tempfile.TemporaryDirectory(prefix=".incoming-", dir=folder) as incoming,
        ThreadPoolExecutor(DOWNLOADS_AT_ONCE, "jars") as pool,
    ):

        def fetch(jar: Jar) -> None:
            target = folder / jar.file_name
            # Another process may have fetched the jar while this one waited for the lock.
            if not jar.is_at(target):
                _fetch(jar, Path(incoming), download).replace(target)

        try:
            deque(pool.map(fetch, missing), maxlen=0)
        except BaseException:
            # One failed jar is enough: do not try all the others first.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _fetch(jar: Jar, incoming: Path, download: Download) -> Path:
    problem = ""
    for _ in range(DOWNLOAD_ATTEMPTS):
        try:
            # A new folder for each attempt, because jgo takes the remains of a broken download for
            # complete.
            path = download(jar, Path(tempfile.mkdtemp(dir=incoming)))
        except (OSError, RuntimeError) as failure:
            problem = f"{type(failure).__name__}: {failure}"
            continue
        if jar.is_at(path):
            return path
        problem = f"the repository's file has SHA-256 {_sha256(path)}, locked is {jar.sha256}"
    raise ServiceError(
        f"jars: cannot fetch {jar.coordinate} in {DOWNLOAD_ATTEMPTS} attempts ({problem}); it is "
        "downloaded once and then kept: check the network, or name a Maven repository that can be "
        "reached in jgo's configuration"
    )


def download_with_jgo(jar: Jar, folder: Path) -> Path:
    """Fetch a jar from the repositories that jgo is configured with; Maven Central by default."""
    return _maven(folder).create_dependency(jar.coordinate).artifact.resolve()


def _maven(folder: Path) -> MavenContext:
    # Imported here because a start from the cache does not need jgo, which takes time to import.
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    return MavenContext(
        repo_cache=folder,
        remote_repos=GlobalSettings.load().repositories or None,
        timeout=DOWNLOAD_SILENCE_S,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def resolve_lock(folder: Path) -> str:
    """Text of the lock for ``ROOTS`` and all their runtime dependencies, resolved anew."""
    maven = _maven(folder)
    roots, needed = maven.resolver.resolve([maven.create_dependency(root) for root in ROOTS])
    lines = []
    for dependency in (*roots, *needed):
        path = dependency.artifact.resolve()
        coordinate = f"{dependency.groupId}:{dependency.artifactId}:{dependency.version}"
        lines.append(f"{_sha256(path)}  {path.name}  {coordinate}\n")
    header = (
        f"# Jars of Apache Kafka {KAFKA_VERSION}: SHA-256, file name, Maven coordinate.\n"
        "# Written by: python -m workers.embedded.jars\n"
    )
    return header + "".join(sorted(lines, key=lambda line: line.split()[1]))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        KAFKA_LOCK.write_text(resolve_lock(Path(folder)))
    print(f"wrote {KAFKA_LOCK}: {len(read_lock())} jars", file=sys.stderr)


if __name__ == "__main__":
    main()
