"""kafka-python's clients, without those of their defects that no setting fixes.

``DEFECTS.md``, in this folder, lists the defects by number: what each one is, how it is worked
around, which test would show that it is gone. The workarounds rest on internals of kafka-python,
which change between its minor releases. Hence ``connect`` accepts only tested releases.
"""

from __future__ import annotations

import contextlib
import math
import re
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import kafka
import kafka.errors as kafka_errors
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import OffsetSpec
from kafka.net.compat import KafkaNetClient

from pipeline.errors import Halt

OLDEST = (3, 0, 12)
"""Earlier releases of the client sometimes never fetched a partition, or spun."""
TESTED = (3, 0)
"""The minor release whose internals are known here."""
REQUIREMENT = "kafka-python>=3.0.12,<3.1"

SLOW_STEP_S = 3.0
"""The client warns about longer steps of its I/O thread; its own limit is 0.1 s. In a busy worker
the thread often waits that long for the interpreter, which does no harm. At this length it delays
heartbeats."""

CLOSE_TIMEOUT_S = 1.0
"""Longest wait for the sender thread of a discarded producer."""

Client = TypeVar("Client")


def connect(kind: Callable[..., Client], options: Mapping[str, Any]) -> Client:
    """Make a client of kafka-python. Blocks until a broker answers, at most for the options'
    ``bootstrap_timeout_ms``. No client made here lets the broker create topics.

    Raises:
        Halt: the installed release of kafka-python was not tested.
        KafkaError: raised by the constructor.
    """
    _require_tested(kafka.__version__)
    networks: list[KafkaNetClient] = []

    def network(**settings: Any) -> KafkaNetClient:
        made = KafkaNetClient(**settings)
        networks.append(made)
        made.cluster.config["allow_auto_create_topics"] = False  # B13
        made._net.config["slow_task_threshold_secs"] = SLOW_STEP_S
        _tell_refusals(made._manager)  # B14
        _read_to_the_end(made._manager)  # B18
        _close_every_socket(made)  # B22
        return made

    try:
        client = kind(kafka_client=network, **options)
    except BaseException:
        for each in networks:  # B14: nobody else holds the half-made client.
            each.close()
        raise
    for each in networks:
        del each._manager.get_connection
    return client


def _require_tested(version: str) -> None:
    release = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if release < OLDEST or release[:2] != TESTED:
        raise Halt(
            "kafka.client_version",
            f"kafka: kafka-python {version} is installed, which was not tested (needed: "
            f"{REQUIREMENT}); run pip install '{REQUIREMENT}'",
        )


def listed_offsets(
    consumer: KafkaConsumer,
    partitions: Iterable[TopicPartition],
    at: OffsetSpec | int,
    timeout_ms: int,
) -> dict[TopicPartition, int]:
    """An offset of each log, in one request for each leader: the first, the last, or that of the
    first record at or after a time in milliseconds. Partitions without a leader are left out (B25),
    and for a time those without such a record. Blocks.

    Raises:
        KafkaError: a leader does not answer in time, or refuses.
    """
    found = consumer._fetcher.offsets_by_times(dict.fromkeys(partitions, at), timeout_ms)
    return {tp: told.offset for tp, told in found.items() if told is not None and told.offset >= 0}


def _tell_refusals(manager: Any) -> None:
    """End the search for a broker when one has refused the credentials."""
    connect_to = manager.get_connection
    refusals: list[BaseException] = []

    def note(error: BaseException) -> None:
        if isinstance(error, kafka_errors.SaslAuthenticationFailedError):
            refusals.append(error)

    def get_connection(*arguments: Any, **options: Any) -> Any:
        if refusals:
            raise refusals[0]
        connection = connect_to(*arguments, **options)
        connection.init_future.add_errback(note)
        return connection

    manager.get_connection = get_connection


def _close_every_socket(network: KafkaNetClient) -> None:
    """When the client closes, close every socket that it has opened. Sockets that are being
    connected wait in its selector; the others are known once their transport is built."""
    net, manager = network._net, network._manager
    register, close, build = net._selector.register, net.close, manager._build_transport
    # Weak: in a long outage those of failed connections would pile up here.
    sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
    last: list[socket.socket] = []
    closing = threading.Event()

    def note(opened: socket.socket) -> None:
        sockets.add(opened)
        if closing.is_set():
            last.append(opened)

    def remember(fileobj: socket.socket, *arguments: Any) -> Any:
        note(fileobj)
        return register(fileobj, *arguments)

    async def build_transport(*arguments: Any, **options: Any) -> Any:
        transport = await build(*arguments, **options)
        note(transport._sock)
        return transport

    def close_all() -> None:
        net.stop()  # the I/O thread, which would open others meanwhile
        # Cancelled tasks drop the last strong reference without closing the socket.
        last.extend(sockets)
        closing.set()
        close()
        for each in last:
            each.close()

    net._selector.register, net.close = remember, close_all
    manager._build_transport = build_transport


def _read_to_the_end(manager: Any) -> None:
    """Deliver what a connection has received before its end is noticed."""
    build = manager._build_transport

    async def build_transport(*arguments: Any, **options: Any) -> Any:
        transport = await build(*arguments, **options)
        receive = transport._sock_recv

        def receive_all() -> tuple[bytes, Exception | None]:
            received, error = receive()
            # The end is seen again when the socket is read next.
            return received, None if received else error

        transport._sock_recv = receive_all
        return transport

    manager._build_transport = build_transport


class Consumer(KafkaConsumer):  # type: ignore[misc]
    """A consumer that may be polled for shorter times than its group needs to answer."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        coordinator = self._coordinator
        # B12: the I/O thread sends heartbeats, so a poll need not end for them.
        coordinator.time_to_next_poll = lambda: math.inf
        self._led_before = False
        self._claimed_lead = False
        self._take_join = coordinator._process_join_group_response
        coordinator._process_join_group_response = self._look_at_join
        self._fenced: kafka_errors.FencedInstanceIdError | None = None
        self._member_at = self._joined_at = -math.inf
        self._followed = coordinator.group_metadata()
        self._complete_join = coordinator._on_join_complete_async
        coordinator._on_join_complete_async = self._follow_join
        for assignor in coordinator._assignors.values():
            assignor.metadata = partial(self._claim, assignor, assignor.metadata)
        self._take_heartbeat = coordinator._handle_heartbeat_response
        coordinator._handle_heartbeat_response = self._look_at_heartbeat

    def group_metadata(self) -> Any:
        """The generation whose assignment this member follows (B20). The broker refuses commits in
        its name as soon as there is a later one."""
        return self._followed

    def member_since(self, moment: float) -> bool:
        """Whether the group has confirmed this member by a heartbeat sent after ``moment``
        (``time.monotonic``)."""
        return self._member_at > moment

    def heard_since(self, moment: float) -> bool:
        """Whether the group has answered this member after ``moment``, by a heartbeat or a join."""
        return max(self._member_at, self._joined_at) > moment

    def poll(self, *arguments: Any, **options: Any) -> Any:
        if self._fenced is not None:
            raise self._fenced
        coordinator = self._coordinator
        join = coordinator._join_task
        if join is not None:
            coordinator.request_rejoin()  # B11: the join is looked at only if this is wanted
            if join.is_done:
                coordinator._join_task = _Answered(join)
        elif self._led_before and not self._claimed_lead:
            # B15: the first join could not name owned partitions. A join that does makes the group
            # choose a leader. Only once, because a member that owns nothing would ask for ever.
            self._claimed_lead = True
            coordinator.request_rejoin()
        self._take_up_resumed()
        return super().poll(*arguments, **options)

    def _take_up_resumed(self) -> None:
        """Go on reading a partition that was set aside when it was paused (B23). The current one is
        set aside for it, so that all of them take turns, poll by poll."""
        fetcher = self._fetcher
        aside = fetcher._paused_partition_records
        resumed = next((tp for tp in aside if not self._subscription.is_paused(tp)), None)
        if resumed is None:
            return
        current = fetcher._next_partition_records
        fetcher._next_partition_records = aside.pop(resumed)
        if current:
            aside[current.topic_partition] = current

    # -- on the I/O thread ------------------------------------------------------------------

    async def _follow_join(self, *arguments: Any) -> None:
        joined = self._coordinator.group_metadata()
        if joined.member_id != self._followed.member_id:
            self._lose_everything()
        self._coordinator._offset_fetch_futures.clear()  # B24
        await self._complete_join(*arguments)
        self._followed = joined
        self._joined_at = time.monotonic()

    def _claim(self, assignor: Any, metadata: Callable[[Any], Any], topics: Any) -> Any:
        """The partitions that this member claims to own when it joins (B19)."""
        same = self._coordinator.group_metadata().member_id == self._followed.member_id
        owned = self._subscription.assigned_partitions() if same else ()
        assignor.member_assignment = list(owned)
        return metadata(topics)

    def _lose_everything(self) -> None:
        """The group now knows this process by another member id. Other members could take what the
        earlier id owned (B21)."""
        lost = set(self._subscription.assigned_partitions())
        if lost:
            self._subscription.rebalance_listener.on_partitions_lost(lost)
            self._subscription.assign_from_subscribed([])

    def _look_at_join(self, response: Any, sent_at: float) -> Any:
        taken = self._take_join(response, sent_at)
        # The broker forms a static member's id from its name and a UUID.
        name = f"{self.config['group_instance_id']}-"
        leader: str = response.leader
        self._led_before = leader != response.member_id and leader.startswith(name)
        return taken

    def _look_at_heartbeat(self, response: Any, sent_at: float) -> None:
        try:
            self._take_heartbeat(response, sent_at)
            self._member_at = sent_at
        except kafka_errors.RebalanceInProgressError:
            self._member_at = sent_at
            raise
        except kafka_errors.FencedInstanceIdError as error:
            self._fenced = error  # B17
            raise


class _Answered:
    """An answered join that looks open, so that the next poll takes its answer (B16)."""

    is_done = False

    def __init__(self, join: Any) -> None:
        self.add_callback = join.add_callback
        self.add_errback = join.add_errback


class Producer(KafkaProducer):  # type: ignore[misc]
    """A producer that can be garbage-collected (B8)."""

    def __del__(self) -> None:
        if hasattr(self, "_sender"):
            self._sender.force_close()


def discard(producer: KafkaProducer) -> None:
    """Stop a producer at once, whatever it was doing. ``close`` alone flushes first; if the flush
    times out, it leaves the sender thread running. Hence the forced end before it."""
    producer._sender.force_close()
    producer._sender.join(CLOSE_TIMEOUT_S)
    # The flush fails if the sender thread waits for a broker that hangs. The thread ends by itself
    # after the request's time limit, and closes the sockets.
    with contextlib.suppress(kafka_errors.KafkaError):
        producer.close(timeout=0)
