"""What the routes of the console's API work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.records import ImageGeometry
from workers.serve.errors import ApiError
from workers.serve.live.cluster import Values
from workers.serve.live.letters import Letters
from workers.serve.live.pictures import Pictures
from workers.serve.live.replays import Replays
from workers.serve.live.watch import Watch
from workers.settings.loading import Settings

NOT_CONFIGURED = (
    "no Kafka is configured for this server; write `kafka: {bootstrap_servers: [host:9092]}` into "
    "its settings file, or set CLIPSTREAM_KAFKA__BOOTSTRAP_SERVERS, and start it again"
)


@dataclass(frozen=True, slots=True)
class Stream:
    """The views of one stream."""

    watch: Watch
    letters: Letters
    replays: Replays


@dataclass(frozen=True, slots=True)
class Live:
    """``stream`` is None if no Kafka is configured. ``changed_at`` returns when label sets came in
    force that have changed since this replica started, in Unix seconds. ``values`` returns those of
    this replica's own metrics."""

    stream: Stream | None
    pictures: Pictures
    geometry: ImageGeometry
    changed_at: Callable[[], Mapping[str, float]]
    values: Callable[[], Values]

    def require_stream(self) -> Stream:
        """The stream's views.

        Raises:
            ApiError: 503: no Kafka is configured.
        """
        if self.stream is None:
            raise ApiError(503, "stream_not_configured", NOT_CONFIGURED)
        return self.stream


def is_stream_configured(settings: Settings) -> bool:
    """Whether somebody named a Kafka: ``kafka.bootstrap_servers`` is in the settings file, the
    environment or the flags, or outcomes of requests are published to Kafka. The default address
    alone says nothing, and is not asked."""
    named = "bootstrap_servers" in settings.kafka.model_fields_set
    return named or settings.serve.publish == "kafka"


def with_stream_named(settings: Settings) -> Settings:
    """The same settings, with the Kafka named that they have. For a server beside which the
    stream's workers run: they use the default address too."""
    kafka = settings.kafka
    named = kafka.model_copy(update={"bootstrap_servers": kafka.bootstrap_servers})
    return settings.model_copy(update={"kafka": named})
