"""`make soak`: a stream worker works off a million references and sits out an outage of the store;
its memory, file descriptors and threads are watched.

Real Kafka, a real S3 server, sandboxed decoders and small images; only the model is made up. The
outage comes when the topic is full: the S3 server is stopped, and started again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml
from kafka import KafkaConsumer, TopicPartition
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.dev.versitygw import VersityS3
from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.clients import connect
from pipeline.adapters.kafka.doctor import sound_topics
from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.adapters.s3.admin import S3Admin
from pipeline.fetch import FetchPolicy
from tests.fault import soak_worker
from tests.fault.soak_plot import draw
from tests.rigs.checkout import commit
from tests.rigs.root import RESULTS
from tests.rigs.services.kafka_deployment import retrying
from workers.demo import shapes
from workers.embedded.kafka import EmbeddedKafka
from workers.embedded.processes import ChildProcess, command_environment
from workers.embedded.s3 import S3Server
from workers.settings.loading import Settings, load_settings

DEMO = Path(shapes.__file__).parent
RESULT = RESULTS / "soak.json"

BUCKET = "soak"
PARTITIONS = 4
OBJECTS = 200
SIDE_PX = (48, 96)
SEED = 3
SAMPLE_S = 1.0
FULL = 20_000
"""References on the topic when the store goes away: far more than a worker takes in."""
DEADLINE_S = 300.0
"""Without any progress, outside the outage."""
MOST_GROWTH = 0.05
MORE_HELD = FetchPolicy().max_open_objects
"""Threads or descriptors that may be added to those of the start: while a store is away, one is
held for each object that is asked for."""
READY_S = 60.0
STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The worker at a moment. ``memory_mib`` is what it has for itself, ``decoders_mib`` what its
    decoder processes have together: pages shared with other processes count for neither."""

    at_s: float
    committed: int
    memory_mib: float
    decoders_mib: float
    descriptors: int
    threads: int
    outage: bool


def sample(pid: int, at_s: float, committed: int, outage: bool) -> Sample:
    process = Path("/proc", str(pid))
    children = (process / "task" / str(pid) / "children").read_text().split()
    for task in (process / "task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has ended
            children += (task / "children").read_text().split()
    return Sample(
        at_s,
        committed,
        _private_mib(pid),
        sum(map(_private_mib, map(int, set(children)))),
        len(list((process / "fd").iterdir())),
        len(list((process / "task").iterdir())),
        outage,
    )


def _private_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0  # a decoder that has been replaced
    private = (line.split() for line in lines if line.startswith("Private_"))
    return sum(int(kib) for name, kib, _ in private if "Hugetlb" not in name) / 1024


@dataclass(frozen=True)
class Result:
    """What a soak showed. Growth is of the median of the last tenth against that of the second
    tenth, when everything has been loaded and every buffer been used; ``outage_growth`` is that of
    the median of the outage's last tenth against the same."""

    references: int
    lost: int
    duplicated: int
    dead_letters: int
    outage_s: float
    seconds: float
    references_per_second: float
    memory_mib: float
    growth: float
    outage_growth: float
    decoders_growth: float
    descriptors: tuple[int, int]
    threads: tuple[int, int]
    samples: list[Sample]

    def faults(self) -> list[str]:
        """What speaks against it."""
        found = [
            f"{getattr(self, name)} {name}"
            for name in ("lost", "duplicated", "dead_letters")
            if getattr(self, name)
        ]
        found += [
            f"{name} of {getattr(self, name):.1%}, more than {MOST_GROWTH:.0%}"
            for name in ("growth", "outage_growth")
            if getattr(self, name) > MOST_GROWTH
        ]
        for name in ("descriptors", "threads"):
            first, ever = getattr(self, name)
            if ever > first + MORE_HELD:
                found.append(f"{ever} {name}, {first} at first")
        return found


class Soak:
    """The services, the worker, and what was seen of it."""

    def __init__(self, folder: Path, kafka: EmbeddedKafka, s3: S3Server) -> None:
        self._s3 = s3
        file = folder / "settings.yaml"
        file.write_text(yaml.safe_dump(_settings(kafka.bootstrap, s3)))
        os.environ.update(AWS_ACCESS_KEY_ID=s3.access_key, AWS_SECRET_ACCESS_KEY=s3.secret_key)
        self.settings: Settings = load_settings(file, environment={})
        self._topic = self.settings.kafka.input_topics[0]
        with KafkaAdmin(self.settings.kafka) as admin:
            admin.create_topics(sound_topics(self.settings.kafka), PARTITIONS, -1)
        self._keys = self._put_objects()
        command = [sys.executable, "-m", soak_worker.__name__, str(file)]
        self.worker = ChildProcess(
            "soak worker", command, log=folder / "worker.log", environment=command_environment()
        )
        servers = list(self.settings.kafka.bootstrap_servers)
        options = {
            "bootstrap_servers": servers,
            "group_id": self.settings.kafka.group,
            "enable_auto_commit": False,
        }
        self._offsets = connect(KafkaConsumer, options)
        self._inputs = [TopicPartition(self._topic, number) for number in range(PARTITIONS)]
        self._began = time.monotonic()
        self.samples: list[Sample] = []

    def close(self) -> None:
        self.worker.stop(STOP_S)
        self._offsets.close()

    def _put_objects(self) -> list[str]:
        with contextlib.closing(S3Admin(self.settings.s3)) as admin:
            admin.create_bucket(BUCKET)
            images = list(shapes.demo_images(SEED, OBJECTS, SIDE_PX))
            for image in images:
                admin.put(BUCKET, image.key, image.body)
        return [image.key for image in images]

    def send(self, count: int) -> None:
        """Publish references, each a record of its own."""
        with ReferenceProducer(self.settings.kafka, self._topic) as producer:
            for number in range(count):
                key = self._keys[number % len(self._keys)]
                value = json.dumps({"bucket": BUCKET, "key": key}).encode()
                producer.send(b"%d" % number, value, partition=number % PARTITIONS)

    def committed(self) -> int:
        return sum(self._offsets.committed(tp) or 0 for tp in self._inputs)

    def watch(self, over: Callable[[int], bool], tell: Callable[[int], None], outage: bool) -> None:
        """Sample until ``over`` says so of what is committed."""
        progressed, committed = time.monotonic(), -1
        while True:
            now, before = time.monotonic(), committed
            committed = self.committed()
            self.samples.append(
                sample(self.worker.pid, round(now - self._began, 1), committed, outage)
            )
            tell(committed)
            if over(committed):
                return
            if committed > before or outage:
                progressed = now
            if now - progressed > DEADLINE_S:
                raise TimeoutError(f"no progress; see {self.worker.log}\n{self.worker.log_tail()}")
            time.sleep(max(0.0, SAMPLE_S - (time.monotonic() - now)))

    def outcomes(self) -> tuple[int, int, int]:
        """Classifications, those with an id of their own, and dead letters."""
        topics = self.settings.kafka.output_topics
        letters = sum(len(ids) for ids in self._ids(topics.dead_letters))
        seen: set[bytes] = set()
        count = 0
        for ids in self._ids(topics.classifications):
            count += len(ids)
            seen.update(ids)
        return count, len(seen), letters

    def _ids(self, topic: str) -> Iterator[list[bytes]]:
        servers = list(self.settings.kafka.bootstrap_servers)
        options = {"bootstrap_servers": servers, "isolation_level": "read_committed"}
        with contextlib.closing(connect(KafkaConsumer, options)) as consumer:
            tps = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic) or ()]
            consumer.assign(tps)
            consumer.seek_to_beginning(*tps)
            ends = consumer.end_offsets(tps)
            while any(consumer.position(tp) < end for tp, end in ends.items()):
                polled = consumer.poll(timeout_ms=500, max_records=10_000)
                yield [dict(raw.headers)["ce_id"] for records in polled.values() for raw in records]


def _settings(bootstrap: str, s3: S3Server) -> dict[str, object]:
    return {
        "kafka": {"bootstrap_servers": [bootstrap], "group": "soak", "instance": "soak"},
        "s3": {"endpoint": s3.endpoint, "region": s3.region, "allowed_buckets": [BUCKET]},
        "label_sets": {"paths": [str(DEMO / "labels.yaml")], "text_cache_dir": None},
        "decode": {"processes": 1},
        "events": {"embeddings": False},
        "endpoints": {"health_port": 0, "metrics_port": 0},
        "log": {"format": "json", "level": "warning"},
    }


def run(
    folder: Path,
    references: int,
    outage_s: float,
    tell: Callable[[int], None] = lambda committed: None,
) -> Result:
    """Work off the references; then, with ``FULL`` more on the topic (or as many again), comes the
    outage."""
    more = min(FULL, references)
    with contextlib.ExitStack() as owned:
        kafka = owned.enter_context(EmbeddedKafka(folder / "kafka"))
        s3 = owned.enter_context(VersityS3(folder / "s3"))
        soak = Soak(folder, kafka, s3)
        owned.callback(soak.close)
        with KafkaAdmin(soak.settings.kafka) as admin:
            retrying(lambda: admin.initialise_group(admin.facts(), "earliest"))
        soak.worker.start()
        # Beside the worker: to send a million takes a while.
        sender = threading.Thread(target=soak.send, args=(references,))
        sender.start()
        soak.watch(lambda committed: committed >= references, tell, outage=False)
        sender.join()
        steady = list(soak.samples)
        soak.send(more)
        s3.stop()
        ends = time.monotonic() + outage_s
        soak.watch(lambda _: time.monotonic() > ends, tell, outage=True)
        s3.start()
        total = references + more
        soak.watch(lambda committed: committed >= total, tell, outage=False)
        soak.worker.stop(STOP_S)
        classified, different, letters = soak.outcomes()
    return _result(total, classified, different, letters, outage_s, steady, soak.samples)


def _result(
    total: int,
    classified: int,
    different: int,
    letters: int,
    outage_s: float,
    steady: list[Sample],
    samples: list[Sample],
) -> Result:
    last = steady[-1].committed
    early = [each for each in steady if 0.1 * last <= each.committed < 0.2 * last]
    early = early or [each for each in steady if each.committed]
    late = [each for each in steady if each.committed >= 0.9 * last]
    base = statistics.median(each.memory_mib for each in early)
    # None while one is replaced.
    decoders = [each.decoders_mib for each in samples if each.decoders_mib]
    tenth = len(decoders) // 10 + 1
    during = [each for each in samples if each.outage]

    def growth(now: float, then: float) -> float:
        return round(now / then - 1, 4)

    seconds = steady[-1].at_s - steady[0].at_s
    return Result(
        references=total,
        lost=total - different - letters,
        duplicated=classified - different,
        dead_letters=letters,
        outage_s=outage_s,
        seconds=round(samples[-1].at_s),
        references_per_second=round(last / seconds, 1),
        memory_mib=round(base, 1),
        growth=growth(statistics.median(each.memory_mib for each in late), base),
        outage_growth=growth(
            statistics.median(each.memory_mib for each in during[-(len(during) // 10 + 1) :]), base
        ),
        decoders_growth=growth(
            statistics.median(decoders[-tenth:]),
            statistics.median(decoders[tenth : 2 * tenth] or decoders),
        ),
        descriptors=_most(early, samples, lambda each: each.descriptors),
        threads=_most(early, samples, lambda each: each.threads),
        samples=samples,
    )


def _most(early: list[Sample], later: list[Sample], of: Callable[[Sample], int]) -> tuple[int, int]:
    """The most at first, and ever."""
    return max(map(of, early)), max(map(of, later))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="soak")
    parser.add_argument("--references", type=int, default=1_000_000)
    parser.add_argument("--outage", type=float, default=600.0, metavar="SECONDS")
    parser.add_argument("--output", type=Path, default=RESULT, help="the plot is put beside it")
    arguments = parser.parse_args()
    console = Console()
    progress = Progress(
        TextColumn("references"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    with tempfile.TemporaryDirectory(prefix="clipstream-soak-") as folder, progress:
        total = arguments.references + min(FULL, arguments.references)
        task = progress.add_task("references", total=total)
        result = run(
            Path(folder),
            arguments.references,
            arguments.outage,
            lambda committed: progress.update(task, completed=committed),
        )
    figures = asdict(result) | {"commit": commit()}
    arguments.output.write_text(_json(figures))
    draw(result.samples, arguments.output.with_suffix(".png"))
    figures.pop("samples")
    console.print_json(data=figures)
    faults = result.faults()
    for fault in faults:
        console.print(f"not as promised: {fault}")
    return 1 if faults else 0


def _json(figures: dict[str, object]) -> str:
    """The figures, and a line for each sample."""
    samples = figures.pop("samples")
    assert isinstance(samples, list)
    head = json.dumps(figures, indent=2).removesuffix("\n}")
    lines = ",\n".join("    " + json.dumps(list(each.values())) for each in samples)
    names = json.dumps(list(Sample.__dataclass_fields__))
    figures["samples"] = samples
    return f'{head},\n  "sample_fields": {names},\n  "samples": [\n{lines}\n  ]\n}}\n'


if __name__ == "__main__":
    sys.exit(main())
