"""Outcomes as Kafka records: CloudEvents whose form is a published contract.

Read ``builder`` first: it makes the records of the stream. ``families`` says which version of the
types an outcome has, and makes the JSON values. ``actions`` makes the small events of outcomes that
somebody must act on. ``served`` makes the records of images that came over HTTP, ``backfill`` those
of a backfill's rows, ``label_sets`` the record of a label set. ``types`` names them all. ``values``
and ``headers`` say what is in them, with ``action_headers``; ``header`` says what a header is, and
``schemas`` renders them as JSON Schemas. ``envelope`` holds the attributes that all events of the
stream share, ``parts`` what values and headers of several types have in common. ``published`` reads
events back.
"""

from pipeline.events.builder import EventBuilder, EventsPolicy
from pipeline.events.envelope import EventContext, event_id

__all__ = ["EventBuilder", "EventContext", "EventsPolicy", "event_id"]
