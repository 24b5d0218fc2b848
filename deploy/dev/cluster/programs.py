"""The programs of a Kubernetes cluster, and the kinds of objects that a chart's operators bring.

All come from the Go module proxy: no container registry is asked.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from deploy.dev import go_programs
from deploy.dev.go_programs import GoProgram
from deploy.dev.installing import made_once
from workers.embedded.cache import cache_folder

ROOT = Path(__file__).resolve().parents[3]

KUBERNETES = "v1.34.2"
"""The last minor whose kubelet takes cgroup v1 and containerd 1.6 without a word."""

KUBERAY = "v1.6.0"
KEDA = "v2.21.0"
PROMETHEUS_OPERATOR = "v0.90.1"
GATEWAY_API = "v1.5.1"


def _kubernetes(name: str) -> GoProgram:
    _, minor, patch = KUBERNETES.split(".")
    version = "k8s.io/component-base/version"
    return GoProgram(
        name,
        "k8s.io/kubernetes",
        KUBERNETES,
        f"k8s.io/kubernetes/cmd/{name}",
        staging=f"v0.{minor}.{patch}",
        # Without them the server calls itself v0.0.0, and charts that name a `kubeVersion` refuse
        # it.
        values=(
            (f"{version}.gitVersion", KUBERNETES),
            (f"{version}.gitMajor", "1"),
            (f"{version}.gitMinor", minor),
        ),
    )


def _keda(name: str, command: str) -> GoProgram:
    module = "github.com/kedacore/keda/v2"
    return GoProgram(name, module, KEDA, f"{module}/cmd/{command}")


HELM = GoProgram("helm", "helm.sh/helm/v4", "v4.3.1", "helm.sh/helm/v4/cmd/helm")
ETCD = GoProgram(
    "etcd",
    "go.etcd.io/etcd/server/v3",
    "v3.6.8",
    "go.etcd.io/etcd/server/v3",
    staging="v3.6.8",
)
APISERVER = _kubernetes("kube-apiserver")
CONTROLLER_MANAGER = _kubernetes("kube-controller-manager")
SCHEDULER = _kubernetes("kube-scheduler")
KUBELET = _kubernetes("kubelet")
KUBECTL = _kubernetes("kubectl")
KWOK = GoProgram("kwok", "sigs.k8s.io/kwok", "v0.7.0", "sigs.k8s.io/kwok/cmd/kwok")
RAY_OPERATOR = GoProgram(
    "kuberay",
    "github.com/ray-project/kuberay/ray-operator",
    KUBERAY,
    "github.com/ray-project/kuberay/ray-operator",
)
KEDA_OPERATOR = _keda("keda", "operator")
KEDA_ADAPTER = _keda("keda-adapter", "adapter")

CONTROL_PLANE = (ETCD, APISERVER, CONTROLLER_MANAGER, SCHEDULER, KUBECTL)

EVERY_RUN = (HELM, *CONTROL_PLANE, KUBELET, RAY_OPERATOR, KWOK)
"""What `make test` builds, in the order in which its groups want it."""

ON_DEMAND = (KEDA_OPERATOR, KEDA_ADAPTER)
"""What only `make cluster-tests` builds: 770 s of processor time."""

_CUSTOM_RESOURCES = (
    (RAY_OPERATOR.module, KUBERAY, "config/crd/bases/*.yaml"),
    (KEDA_OPERATOR.module, KEDA, "config/crd/bases/*.yaml"),
    ("sigs.k8s.io/gateway-api", GATEWAY_API, "config/crd/standard/*_httproutes.yaml"),
    *(
        (
            "github.com/prometheus-operator/prometheus-operator",
            PROMETHEUS_OPERATOR,
            f"example/prometheus-operator-crd/*_{kind}.yaml",
        )
        for kind in ("podmonitors", "prometheusrules", "scrapeconfigs", "servicemonitors")
    ),
)


def available(programs: Sequence[GoProgram] = EVERY_RUN) -> bool:
    """Whether the programs and the custom resources are there, or can be had."""
    fetched = _custom_resources_folder().is_dir() or shutil.which("go") is not None
    return fetched and go_programs.available(programs)


def program(name: str) -> Path:
    """Path of one program, built if need be: ``program("helm")``."""
    (path,) = go_programs.built([each for each in (*EVERY_RUN, *ON_DEMAND) if each.name == name])
    return path


def custom_resources() -> Path:
    """A folder of CustomResourceDefinitions: KubeRay's, KEDA's, the Prometheus operator's, and
    HTTPRoute.

    They lie in the operators' modules, which are fetched once.
    """
    return made_once(_custom_resources_folder(), _fetch_custom_resources)


def _custom_resources_folder() -> Path:
    digest = hashlib.sha256(repr(_CUSTOM_RESOURCES).encode()).hexdigest()
    return cache_folder("custom-resources", digest[:16])


def _fetch_custom_resources(folder: Path) -> Path:
    complete = folder / "complete"
    complete.mkdir()
    with go_programs.sole_build() as environment:
        assert environment is not None  # noqa: S101 - it has waited
        for module, version, pattern in _CUSTOM_RESOURCES:
            for file in go_programs.module_folder(module, version, environment).glob(pattern):
                shutil.copyfile(file, complete / file.name)
    return complete
