"""The place where an object is verified: settings, topics and a group of its own."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

from pipeline.adapters.kafka.admin import KafkaAdmin
from pipeline.adapters.kafka.doctor import sound_topics
from pipeline.adapters.kafka.policy import Member, TopicNames, check_topic
from pipeline.errors import Halt, Retry
from pipeline.routes import Route, RoutePolicy
from workers.settings.loading import Settings
from workers.stream.wiring import member_of

ANSWER_S = 60.0
"""Longest wait for a broker that is busy creating what it was asked for."""

PAUSE_S = 0.5


def settings_of_place(settings: Settings, prefix: str) -> Settings:
    """The settings of one worker for one record, with topics and a group of their own. What decides
    about the object stays as it is.

    Raises:
        Halt: ``verify.invalid``: no topic may have such a name.
    """
    kafka, model = settings.kafka, settings.model
    name = f"{prefix}.{uuid.uuid4().hex[:8]}"
    outputs = {
        role.value: f"{name}.{role.value.replace('_', '-')}" for role in kafka.output_topics.in_use
    }
    try:
        for topic in outputs.values():
            check_topic(topic)
    except ValueError as error:
        raise Halt("verify.invalid", f"verify: --topic-prefix: {error}") from error
    own = kafka.model_copy(
        update={
            "group": name,
            "instance": "verify",
            "input_topics": (f"{name}.references",),
            "output_topics": TopicNames(**outputs, label_sets=None),
        }
    )
    return settings.model_copy(
        update={
            "kafka": own,
            "delivery": settings.delivery.model_copy(update={"start": "earliest"}),
            "routes": routes_of(settings.routes, kafka.input_topics[0]),
            "priority": settings.priority.model_copy(update={"lower": ()}),
            # The command shows a failure. A spent budget would hold its dead letter back.
            "failure_budget": settings.failure_budget.model_copy(update={"max_share": 1.0}),
            "decode": settings.decode.model_copy(update={"processes": 1}),
            "model": model.model_copy(
                update={
                    "device": "auto",
                    # This machine may have no GPU for the precision. int8 runs on CPUs alone.
                    "precision": "int8" if model.precision == "int8" else "auto",
                    "compile": "off",
                }
            ),
            "endpoints": settings.endpoints.model_copy(
                update={"host": "127.0.0.1", "metrics_port": 0, "discovery_file": None}
            ),
        }
    )


def routes_of(routes: tuple[RoutePolicy, ...], topic: str) -> tuple[RoutePolicy, ...]:
    """The routes that match records of ``topic``. Each of them now matches any topic."""
    return tuple(
        route.model_copy(update={"topic": None})
        for route in routes
        if Route.of(route).topic.match(topic)
    )


class Place:
    """Topics and a group, from ``create`` to ``remove``."""

    def __init__(self, settings: Settings, stopping: threading.Event) -> None:
        """Once ``stopping``, a failure is final."""
        self.settings = settings
        self._stopping = stopping

    @property
    def member(self) -> Member:
        return member_of(self.settings, 0)

    @property
    def topics(self) -> tuple[str, ...]:
        kafka = self.settings.kafka
        return (*kafka.input_topics, *kafka.output_topics.in_use.values())

    def create(self) -> None:
        """Create the topics, and the group with its first offsets.

        Raises:
            Halt, Retry: as ``KafkaAdmin``.
        """
        sound = sound_topics(self.settings.kafka)
        with KafkaAdmin(self.settings.kafka) as admin:
            admin.create_topics(sound, 1, -1)
            # Brokers know new topics, and the coordinator of a new group, a moment later.
            self._patiently(lambda: admin.initialise_group(admin.facts(), "earliest"))

    def remove(self) -> None:
        """Remove what is there of the group and the topics.

        Raises:
            Halt, Retry: as ``KafkaAdmin``.
        """
        with KafkaAdmin(self.settings.kafka) as admin:
            admin.remove_members([self.member.group_instance_id])
            self._patiently(admin.remove_group)
            admin.remove_topics(self.topics)

    def _patiently(self, call: Callable[[], None]) -> None:
        until = time.monotonic() + ANSWER_S
        while True:
            try:
                return call()
            except Retry:
                if time.monotonic() > until or self._stopping.is_set():
                    raise
                self._stopping.wait(PAUSE_S)
