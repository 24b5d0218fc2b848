"""The groups of `make test`, in the order in which they start.

Every test file belongs to exactly one group: ``tests/unit/project/test_suite.py`` fails for a file
that belongs to none or to two. `binaries` comes first, before the programs of Kubernetes are built,
because builds wait for one another. While the groups that run alone wait for something, these are
built, once on a machine, and groups that only compute are run. The groups that may run beside
others follow, long ones before short ones, so that no long one runs on by itself. `kafka`, `ray`,
`kubernetes`, `backfill`, `simulated` and `serving` wait more than they compute, and run beside
others that compute.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BIN = shlex.quote(str(Path(sys.executable).parent))


@dataclass(frozen=True, slots=True)
class Group:
    """Tests, or one command, that run in a process of their own.

    ``files`` are patterns of test files, relative to the root of the tree. ``command`` is what
    runs instead of pytest. An ``alone`` group never runs beside another: it judges time, or it
    keeps all processors busy. A ``background`` group runs beside every other and takes the place of
    none: it gets the processors that nobody else wants. A group that ``computes`` waits for nothing
    and judges no time: it may run in the background of one that runs alone. A ``searching`` group
    tries random orders of events or random inputs: what it finds once is found, and no second run
    makes it good.
    """

    name: str
    guards: str
    files: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    alone: bool = False
    background: bool = False
    computes: bool = False
    searching: bool = False

    def test_files(self, root: Path = ROOT) -> list[str]:
        """The test files that its patterns find, relative to ``root``."""
        found = {path for pattern in self.files for path in root.glob(pattern)}
        return sorted(str(path.relative_to(root)) for path in found)

    def arguments(self, cache: Path, root: Path = ROOT) -> list[str]:
        """The command line of its process. pytest notes in ``cache`` which tests failed."""
        if self.command:
            return [*self.command]
        # Counts are read from plain text.
        pytest = [sys.executable, "-m", "pytest", "-o", f"cache_dir={cache}", "--color=no"]
        return [*pytest, *self.test_files(root)]


def shell(*commands: str) -> tuple[str, ...]:
    """Programs of the environment one after the other, until one fails."""
    return "sh", "-c", " && ".join(f"{BIN}/{command}" for command in commands)


GROUPS = (
    Group(
        "binaries",
        "Kafka's jars and the S3 server are there before tests start them",
        command=(sys.executable, "-m", "deploy.dev.suite.binaries"),
        alone=True,
    ),
    Group(
        "lint",
        "style, formatting, who imports whom",
        command=shell("ruff check .", "ruff format --check .", "lint-imports --no-logo"),
    ),
    Group(
        "cluster",
        "Kubernetes' programs are built, while the other groups wait for something",
        command=(sys.executable, "-m", "deploy.dev.cluster.build"),
        background=True,
    ),
    Group(
        "e2e",
        "the commands as a person types them: Kafka, S3, Ray",
        files=("tests/e2e/test_demo.py", "tests/e2e/test_stream_*.py"),
        alone=True,
    ),
    Group(
        "chaos",
        "exactly one outcome whatever is killed, frozen or cut off",
        files=(
            "tests/fault/test_chaos.py",
            "tests/fault/test_fault_table.py",
            "tests/fault/test_judge.py",
            "tests/fault/test_soak.py",
        ),
        alone=True,
        searching=True,
    ),
    Group(
        "fault",
        "each fault of brokers, stores, links and processes has its stated effect",
        files=(
            "tests/component/test_kafka_outage.py",
            "tests/component/test_kafka_quotas.py",
            "tests/fault/test_broker_link.py",
            "tests/fault/test_cluster_faults.py",
            "tests/fault/test_exhaustion.py",
            "tests/fault/test_s3_faults.py",
            "tests/fault/test_shared_group.py",
            "tests/fault/test_stuck_worker.py",
            "tests/fault/test_takeover.py",
            "tests/fault/test_worker_faults.py",
        ),
        alone=True,
    ),
    Group(
        "alerts",
        "faults of a running stream raise their alerts in Prometheus, and end them",
        files=("tests/fault/alerts/test_*.py",),
        alone=True,
    ),
    Group(
        "kafka",
        "one Kafka client: members, transactions, offsets, replays, permissions, recorded events",
        files=(
            "tests/component/test_kafka_actions.py",
            "tests/component/test_kafka_doctor.py",
            "tests/component/test_kafka_enqueue.py",
            "tests/component/test_kafka_fencing.py",
            "tests/component/test_kafka_fork.py",
            "tests/component/test_kafka_group_offsets.py",
            "tests/component/test_kafka_jars.py",
            "tests/component/test_kafka_members.py",
            "tests/component/test_kafka_paused.py",
            "tests/component/test_kafka_replay.py",
            "tests/component/test_kafka_scale_in.py",
            "tests/component/test_kafka_secured.py",
            "tests/component/test_kafka_served.py",
            "tests/component/test_kafka_too_large.py",
            "tests/component/test_kafka_transactions.py",
            "tests/component/test_kafka_unreadable.py",
            "tests/component/test_kafka_watching.py",
            "tests/component/test_label_set_records.py",
            "tests/component/test_verify.py",
        ),
    ),
    Group(
        "ray",
        "workers as Ray actors: nodes that come, lack something, go away",
        files=(
            "tests/component/test_backfill_on_ray.py",
            "tests/component/test_faulty_node.py",
            "tests/component/test_gpus_of_a_cluster.py",
            "tests/component/test_ray_start.py",
            "tests/component/test_scaling_stream.py",
            "tests/fault/test_ray_cluster.py",
        ),
    ),
    Group(
        "kubernetes",
        "releases in both modes on a real node: outcomes, drains, lost pods, upgrades, in CI",
        files=("tests/component/kubernetes/test_*.py",),
    ),
    Group("types", "strict types of product and tests", command=shell("mypy"), computes=True),
    Group(
        "unit",
        "each module alone: no service, no waiting, a clock of its own",
        files=("tests/unit/**/test_*.py",),
        computes=True,
    ),
    Group(
        "backfill",
        "a backfill's rows are committed once, whatever dies on the way",
        files=(
            "tests/component/backfill/test_*.py",
            "tests/e2e/test_backfill*.py",
            "tests/fault/backfill/test_*.py",
            "tests/fault/test_long_runs.py",
        ),
        searching=True,
    ),
    Group(
        "decode",
        "real files in the real sandbox: pixels, refusals, crashes",
        files=("tests/component/test_decoder_*.py",),
    ),
    Group(
        "simulated",
        "scheduling, admission, operators and releases, on nodes that kwok plays",
        files=("tests/component/kubernetes/simulated/test_*.py",),
    ),
    Group(
        "serving",
        "the HTTP application on Ray Serve: both proxies, drains, deaths, other applications",
        files=("tests/component/serving/test_*.py",),
    ),
    Group(
        "clip",
        "embeddings equal transformers'; checkpoints, precisions, calibration, CUDA if it is there",
        files=(
            "tests/component/test_another_kind_of_worker.py",
            "tests/component/test_calibrate_command.py",
            "tests/component/test_clip_*.py",
            "tests/component/test_cpu_precision.py",
            "tests/component/test_demo_model.py",
            "tests/component/test_explain.py",
            "tests/component/test_views_of_pictures.py",
            "tests/component/test_int8.py",
            "tests/component/test_stages.py",
            "tests/component/test_traces.py",
            "tests/component/test_*_tower.py",
            "tests/gpu/test_*.py",
        ),
        computes=True,
    ),
    Group(
        "decisions",
        "label sets tested and tuned on images, as docs/decisions.md shows it",
        files=("tests/component/decisions/test_*.py",),
        computes=True,
    ),
    Group(
        "contract",
        "fakes keep the promises of the real Kafka, S3 and CLIP",
        files=("tests/contract/test_*.py",),
    ),
    Group(
        "services",
        "services that the demo and development start, and leave nothing behind",
        files=(
            "tests/component/test_child_processes.py",
            "tests/component/test_dev_services.py",
            "tests/component/test_embedded_services.py",
        ),
    ),
    Group(
        "property",
        "what must hold for every input and every order of events",
        files=("tests/property/test_*.py",),
        searching=True,
        computes=True,
    ),
    Group(
        "monitoring",
        "each alert fires and stays silent as it should; each panel's query has an answer",
        files=("tests/component/monitoring/test_*.py",),
    ),
    Group(
        "packaging",
        "the wheel is complete; CI skips nothing",
        files=("tests/packaging/test_*.py",),
    ),
    Group(
        "s3",
        "real S3 servers: versions, keys, outages, two at once",
        files=(
            "tests/component/test_model_fetch.py",
            "tests/component/test_object_store_*.py",
            "tests/component/test_two_stores.py",
        ),
    ),
    Group(
        "serve",
        "the HTTP application in process, as its clients use it",
        files=("tests/component/serve/test_*.py",),
    ),
    Group(
        "clients",
        "OpenAI's, Hugging Face's, LiteLLM's and LangChain's own clients, and curl",
        files=("tests/component/clients/test_*.py",),
    ),
    Group(
        "console",
        "the console in a real browser: images, thresholds, the stream, replays",
        files=("tests/component/console/test_*.py",),
    ),
    Group(
        "helm",
        "the chart: every value, every example, what each pod may and has",
        files=("tests/component/helm/test_*.py",),
    ),
)


def owners(root: Path = ROOT) -> Mapping[str, list[str]]:
    """Each test file of the tree with the names of the groups that run it."""
    found: dict[str, list[str]] = {
        str(path.relative_to(root)): [] for path in sorted(root.glob("tests/**/test_*.py"))
    }
    for group in GROUPS:
        for file in group.test_files(root):
            found.setdefault(file, []).append(group.name)
    return found
