"""Steady HTTP clients of a Service: they choose pods as the network of a cluster does.

Nothing forwards a Service's address here. So the clients read its EndpointSlices themselves, and
learn of a change as late as others do.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Self

from deploy.dev.cluster.kubectl import Kubectl

Address = tuple[str, int]

_WHY = re.compile(r"^\S+ (?:\S+: )?(no pod is ready|\w+).*$", re.DOTALL)
"""What a failure tells after its time and address."""

REFRESH_S = 1.0
"""Between two looks at the Service's pods. A kube-proxy waits 1 s from a change to the next."""

PAUSE_S = 0.2
"""Between an answer and the next request of a client."""

ANSWER_S = 60.0

WARM = 20
"""Answers after which a pod counts as one that answers."""


class ServiceClients:
    """Clients that post one body to a Service as long as the block lasts.

    ``fresh`` clients open a connection for each request, as through the Service's address.
    ``kept`` ones keep one connection to each ready pod, as an ingress does. No request is sent
    twice. ``answered`` counts answers by the address that gave them; ``failed`` tells each request
    that had another answer than 200, or none.
    """

    def __init__(
        self, kubectl: Kubectl, service: str, path: str, body: bytes, headers: dict[str, str]
    ) -> None:
        self._kubectl = kubectl
        self._service = service
        self._path, self._body, self._headers = path, body, headers
        self._ready: tuple[Address, ...] = ()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._broken: list[BaseException] = []
        self.answered: Counter[Address] = Counter()
        self.failed: list[str] = []
        self.longest_s = 0.0
        self._answered_at: list[float] = []

    def start(self, *, fresh: int, kept: int) -> Self:
        self._ready = self._endpoints()
        targets = [self._follow, *[self._ask_freshly] * fresh, *[self._ask_on_kept] * kept]
        for target in targets:
            thread = threading.Thread(target=self._run, args=(target,), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def stop(self) -> None:
        """Let each client hear its last answer. Raises what a client has raised."""
        self._over.set()
        for thread in self._threads:
            thread.join(2 * ANSWER_S)
        if self._broken:
            raise self._broken[0]

    def warm(self) -> set[Address]:
        """Pods that have answered often."""
        return {address for address, answers in self.answered.items() if answers >= WARM}

    def pause_s(self) -> float:
        """The longest time in which no client had an answer."""
        return max(after - before for before, after in itertools.pairwise(self._answered_at))

    def failures(self) -> Counter[str]:
        """Requests that failed, by the status of the answer, or by why there was none."""
        return Counter(_WHY.sub(r"\1", failed) for failed in self.failed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def _run(self, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as problem:
            self._broken.append(problem)

    def _follow(self) -> None:
        while not self._over.wait(REFRESH_S):
            self._ready = self._endpoints()

    def _endpoints(self) -> tuple[Address, ...]:
        selector = f"kubernetes.io/service-name={self._service}"
        return tuple(
            (address, each["ports"][0]["port"])
            for each in self._kubectl.get("endpointslices", "-l", selector)["items"]
            for endpoint in each["endpoints"] or ()
            if endpoint["conditions"]["ready"]
            for address in endpoint["addresses"]
        )

    def _ask_freshly(self) -> None:
        while not self._over.wait(PAUSE_S):
            if address := self._chosen():
                with contextlib.closing(self._connection(address)) as connection:
                    self._ask(connection, address)

    def _ask_on_kept(self) -> None:
        kept: dict[Address, http.client.HTTPConnection] = {}
        with contextlib.ExitStack() as closing:
            while not self._over.wait(PAUSE_S):
                if address := self._chosen():
                    if address not in kept:
                        connection = self._connection(address)
                        kept[address] = closing.enter_context(contextlib.closing(connection))
                    self._ask(kept[address], address)

    def _chosen(self) -> Address | None:
        ready = self._ready
        if not ready:
            self._tell("no pod is ready")
            return None
        return random.choice(ready)

    def _connection(self, address: Address) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*address, timeout=ANSWER_S)

    def _ask(self, connection: http.client.HTTPConnection, address: Address) -> None:
        began = time.monotonic()
        try:
            connection.request("POST", self._path, self._body, self._headers)
            response = connection.getresponse()
            said = response.read()
        except (OSError, http.client.HTTPException) as problem:
            connection.close()
            self._tell(f"{address[0]}: {problem!r}")
            return
        took_s = time.monotonic() - began
        if response.status != 200:
            self._tell(f"{address[0]}: {response.status} {said[:200]!r}")
            return
        with self._lock:
            self.answered[address] += 1
            self._answered_at.append(time.monotonic())
            self.longest_s = max(self.longest_s, took_s)

    def _tell(self, problem: str) -> None:
        with self._lock:
            self.failed.append(f"{time.strftime('%H:%M:%S')} {problem}")
