"""Settings: one YAML file, the environment and the flags, in that order, become frozen policies.

The environment is read here and nowhere else. ``CLIPSTREAM_KAFKA__GROUP=g`` sets ``kafka.group``.
Lists and mappings are JSON there; an empty variable sets nothing. This module imports no client
library and no torch, so that commands that only read settings start at once.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from pipeline.adapters.clip.policy import ModelPolicy
from pipeline.adapters.https.policy import HttpsPolicy
from pipeline.adapters.kafka.policy import MAX_PORT, DeliveryPolicy, KafkaPolicy, check_topic
from pipeline.adapters.opentelemetry.policy import TracingPolicy
from pipeline.adapters.s3.policy import (
    NOTHING_READABLE,
    NamedS3Policy,
    S3Policy,
    check_stores,
    in_order,
)
from pipeline.backfill.policy import BackfillPolicy
from pipeline.commit.budget import BudgetPolicy
from pipeline.decode.policy import DecodePolicy
from pipeline.encode.policy import BatchPolicy
from pipeline.errors import Halt
from pipeline.events import EventsPolicy
from pipeline.fetch import FetchPolicy, store_of
from pipeline.flow import FlowPolicy
from pipeline.known.policy import KnownPolicy
from pipeline.labels.label_set import LabelSetsPolicy
from pipeline.policy import Policy, Tier
from pipeline.priority import PriorityPolicy
from pipeline.references import ReferencesPolicy
from pipeline.retry import BreakerPolicy, RetryPolicy
from pipeline.routes import RoutePolicy
from workers.endpoints.policy import EndpointsPolicy
from workers.kubernetes.policy import KubernetesPolicy
from workers.logs import LogPolicy
from workers.settings.catalogue import Catalogue
from workers.settings.problems import problem_lines
from workers.settings.serve import ServePolicy
from workers.settings.sources import CONFIG_VARIABLE, Given, from_text, gather
from workers.settings.workers import WorkersPolicy

MUST_READ = "must_read"
"""Key of the validation's context: whether settings without a store are refused."""


class Settings(Policy):
    """Everything that a person can set."""

    kafka: KafkaPolicy = Field(default_factory=KafkaPolicy)
    delivery: DeliveryPolicy = Field(default_factory=DeliveryPolicy)
    s3: S3Policy = Field(default_factory=S3Policy)
    https: HttpsPolicy = Field(default_factory=HttpsPolicy)
    stores: Annotated[tuple[NamedS3Policy, ...], Tier.EVERYDAY] = Field(
        (),
        description="Further stores in other regions, accounts or servers, each with a name and "
        "the keys of `s3`. A reference is read from the first store whose `allowed_buckets` name "
        "its bucket. The store of `s3` comes last and may be left out.",
        validate_default=True,
    )
    references: ReferencesPolicy = Field(default_factory=ReferencesPolicy)
    routes: Annotated[tuple[RoutePolicy, ...], Tier.EVERYDAY] = Field(
        (),
        description="Routes in their order. The first route that matches a reference decides its "
        "label sets and tenant. A reference that no route matches is dead-lettered. Without "
        "routes every image is scored with every loaded label set.",
    )
    label_sets: LabelSetsPolicy = Field(default_factory=LabelSetsPolicy)
    known: KnownPolicy = Field(default_factory=KnownPolicy)
    model: ModelPolicy = Field(default_factory=ModelPolicy)
    fetch: FetchPolicy = Field(default_factory=FetchPolicy)
    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    breaker: BreakerPolicy = Field(default_factory=BreakerPolicy)
    decode: DecodePolicy = Field(default_factory=DecodePolicy)
    failure_budget: BudgetPolicy = Field(default_factory=BudgetPolicy)
    batch: BatchPolicy = Field(default_factory=BatchPolicy)
    flow: FlowPolicy = Field(default_factory=FlowPolicy)
    priority: PriorityPolicy = Field(default_factory=PriorityPolicy)
    events: EventsPolicy = Field(default_factory=EventsPolicy)
    workers: WorkersPolicy = Field(default_factory=WorkersPolicy)
    serve: ServePolicy = Field(default_factory=ServePolicy)
    backfill: BackfillPolicy = Field(default_factory=BackfillPolicy)
    endpoints: EndpointsPolicy = Field(default_factory=EndpointsPolicy)
    kubernetes: KubernetesPolicy = Field(default_factory=KubernetesPolicy)
    log: LogPolicy = Field(default_factory=LogPolicy)
    tracing: TracingPolicy = Field(default_factory=TracingPolicy)

    @property
    def s3_stores(self) -> tuple[S3Policy, ...]:
        """All stores of S3's protocol, in the order in which a bucket is looked up."""
        return in_order(self.stores, self.s3)

    def s3_store_of(self, bucket: str) -> S3Policy | None:
        """The store that references to the bucket are read from, or None if no store may read
        it."""
        return store_of(self.s3_stores, bucket)

    def s3_store_named(self, bucket: str) -> S3Policy:
        """The store of a bucket that a person names: the one that may read it, else that of the
        section ``s3``. Unlike a message, a person may name any bucket."""
        return self.s3_store_of(bucket) or self.s3

    @property
    def has_stores(self) -> bool:
        """Whether anything may be read: from S3, or from web servers."""
        return bool(self.s3_stores or self.https.allowed_hosts)

    @property
    def instance(self) -> str:
        """The driver's name in the group, by default this machine's. On another machine it is right
        only in settings that are ``named``."""
        return self.kafka.instance or socket.gethostname()

    def named(self) -> Self:
        """The settings with the driver's name written out, for workers on other machines."""
        kafka = self.kafka.model_copy(update={"instance": self.instance})
        return self.model_copy(update={"kafka": kafka})

    def require_stores(self) -> None:
        """Check that there is a store. Settings may have none: a worker may bring stores of its
        own.

        Raises:
            Halt: ``settings.invalid``: nothing may be read.
        """
        if not self.has_stores:
            raise Halt("settings.invalid", f"settings:\n  {NOTHING_READABLE}")

    @field_validator("stores")
    @classmethod
    def _each_store_is_used(
        cls, stores: tuple[NamedS3Policy, ...], info: ValidationInfo
    ) -> tuple[NamedS3Policy, ...]:
        if "s3" in info.data:  # absent if the section itself is refused
            web = info.data.get("https")
            elsewhere = web is None or bool(web.allowed_hosts)
            must_read = bool(info.context and info.context.get(MUST_READ)) and not elsewhere
            check_stores(stores, info.data["s3"], must_read=must_read)
        return stores

    @model_validator(mode="after")
    def _gpus_fit_the_device(self) -> Self:
        gpus, model = self.workers.gpus_per_worker, self.model
        if gpus == "auto":
            return self
        if model.device == "cuda" and gpus == 0:
            raise ValueError(
                "workers.gpus_per_worker: is 0, so that a worker sees no GPU, and model.device is "
                "cuda; write auto, 1, or a fraction to share a GPU"
            )
        if gpus > 0 and (model.device == "cpu" or model.precision == "int8"):
            key = "model.device is cpu" if model.device == "cpu" else "model.precision is int8"
            raise ValueError(
                f"workers.gpus_per_worker: is {gpus:g} and {key}, so that the GPU would be "
                "reserved and idle; write auto or 0, or run the model on the GPU"
            )
        return self

    @model_validator(mode="after")
    def _budget_window_fits(self) -> Self:
        window = self.failure_budget.window
        for name, most in (
            ("flow.max_in_flight", self.flow.max_in_flight),
            ("delivery.max_outcomes_per_commit", self.delivery.max_outcomes_per_commit),
        ):
            if window > most:
                raise ValueError(
                    f"failure_budget.window: is {window} and {name} is {most}, so that no commit "
                    "would ever hold a whole window; lower the one or raise the other"
                )
        return self

    @model_validator(mode="after")
    def _priorities_are_of_inputs(self) -> Self:
        for topic in self.priority.lower:
            if topic not in self.kafka.input_topics:
                raise ValueError(
                    f"priority.lower: {topic} is none of kafka.input_topics "
                    f"({', '.join(self.kafka.input_topics)}); mend its name, or leave it out"
                )
        if len(set(self.priority.lower)) < len(self.priority.lower):
            raise ValueError("priority.lower: a topic is named twice; name it once")
        return self

    @model_validator(mode="after")
    def _served_topic_is_its_own(self) -> Self:
        if self.serve.publish == "none":
            return self
        outputs = self.kafka.output_topics.in_use.values()
        if self.serve.topic in (*self.kafka.input_topics, *outputs):
            raise ValueError(
                f"serve.topic: {self.serve.topic} is a topic of the stream too, whose readers do "
                "not expect events of requests; use another topic"
            )
        return self

    @model_validator(mode="after")
    def _backfill_topics_are_their_own(self) -> Self:
        theirs = {*self.kafka.output_topics.in_use.values()}
        theirs |= {*self.kafka.input_topics, self.serve.topic}
        seen: set[str] = set()
        for key, name in self.backfill.topics:
            try:
                check_topic(name)
            except ValueError as error:
                raise ValueError(f"backfill.topics.{key}: {error}") from error
            if name in theirs:
                raise ValueError(
                    f"backfill.topics.{key}: {name} is a topic of the stream or of the server too, "
                    "whose readers do not expect events of backfills; use another topic"
                )
            if name in seen:
                raise ValueError(
                    f"backfill.topics.{key}: {name} is the name of two topics; use four topics"
                )
            seen.add(name)
        return self

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        first, health = self.endpoints.metrics_port, self.endpoints.health_port
        if first == 0:
            return self
        key = "count" if self.workers.max_count is None else "max_count"
        last = first + self.workers.most - 1
        ports = f"{first} to {last} for workers.{key} = {self.workers.most}"
        if last > MAX_PORT:
            raise ValueError(
                f"endpoints.metrics_port: {ports} exceeds {MAX_PORT}; write a lower port, or 0"
            )
        if first <= health <= last:
            raise ValueError(
                f"endpoints.metrics_port: {ports} takes in endpoints.health_port ({health}); move "
                "one of them"
            )
        return self


CATALOGUE = Catalogue.of(Settings)

_Section = TypeVar("_Section", bound=Policy)


def load_settings(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read, merge and validate; see ``read_settings`` and ``validated``."""
    return validated(read_settings(file, flags, environment))


def read_settings(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Given:
    """Read and merge.

    ``file`` defaults to the file that CLIPSTREAM_CONFIG names. ``flags`` maps dotted paths to
    values. A text value is read like a variable's text; None sets nothing.

    Raises:
        Halt: ``settings.*``: the file cannot be read.
    """
    environment = os.environ if environment is None else environment
    if file is None and (named := environment.get(CONFIG_VARIABLE)):
        file = Path(named)
    given_flags = {
        path: from_text(CATALOGUE, path, value) if isinstance(value, str) else value
        for path, value in (flags or {}).items()
        if value is not None
    }
    return gather(CATALOGUE, file, environment, given_flags)


def validated_section(given: Given, name: str, policy: type[_Section]) -> _Section:
    """One section of the given values, for a command that needs no other.

    Raises:
        Halt: ``settings.invalid``, with every problem of the section and of the file's YAML.
    """
    errors: list[dict[str, Any]] = []
    try:
        section = policy.model_validate(given.values.get(name, {}))
    except ValidationError as error:
        errors = [{**each, "loc": (name, *each["loc"])} for each in error.errors()]
    if problems := problem_lines(errors, CATALOGUE, given):
        raise Halt("settings.invalid", "\n".join(["settings:", *problems]))
    return section


def validated(given: Given, *, must_read: bool = False) -> Settings:
    """The given values as frozen policies. ``must_read``: a command that reads objects needs a
    store.

    Raises:
        Halt: ``settings.invalid``, with every problem: its key, what to write, where it was set.
    """
    # A missing section is validated like an empty one, so that problems name it.
    empty: dict[str, Any] = {
        name: {} for name in CATALOGUE.sections if name in Settings.model_fields
    }
    errors: list[Any] = []
    try:
        settings = Settings.model_validate(empty | given.values, context={MUST_READ: must_read})
    except ValidationError as error:
        errors = list(error.errors())
    # Raised outside the handler, because the validation's own error quotes values, secrets too.
    if problems := problem_lines(errors, CATALOGUE, given):
        raise Halt("settings.invalid", "\n".join(["settings:", *problems]))
    return settings
