"""The input formats: one file each.

Read ``reference`` first: what every format is read into. ``native`` is the simplest format and
``s3_notification`` the most used one: ``aws``, ``minio`` and ``ceph`` are its dialects, and
``cloudtrail`` a record that comes in it. ``eventbridge`` is a format of its own. ``cloudevents``
and ``sns`` are envelopes. ``strict_json`` and ``fields`` are what all of them read with, and
``https_url`` reads the URLs of images on web servers.

A new format is a file with a ``Format`` in it, and a line here; a store that imitates S3's
notifications is a ``Dialect``, and a line in ``S3_DIALECTS``. Its test reads an example that its
producer has published (``tests/data/formats``), and docs/input-formats.md says what is decoded.
"""

from __future__ import annotations

from pipeline.errors import Reject
from pipeline.formats import cloudevents, cloudtrail, sns
from pipeline.formats.aws import AWS
from pipeline.formats.ceph import CEPH
from pipeline.formats.eventbridge import EVENTBRIDGE
from pipeline.formats.minio import MINIO
from pipeline.formats.native import NATIVE
from pipeline.formats.reference import Format
from pipeline.formats.s3_notification import notification_format
from pipeline.formats.sns import SNS_CONTROL
from pipeline.formats.strict_json import Load
from pipeline.records import JsonValue

S3_DIALECTS = (AWS, MINIO, CEPH)

ENVELOPES = (cloudevents.unwrap, sns.unwrap)
"""Each is opened once, in this order."""

FORMATS: tuple[Format, ...] = (
    notification_format(S3_DIALECTS, {cloudtrail.EVENT_SOURCE: cloudtrail.read_record}),
    EVENTBRIDGE,
    SNS_CONTROL,
    NATIVE,  # last: it takes any list
)
"""The first that recognises a document reads it."""


def open_envelopes(document: JsonValue, load: Load) -> JsonValue:
    """Return the document that the envelopes hold, or the document itself without envelopes.

    Raises:
        Reject: an envelope is broken.
    """
    for unwrap in ENVELOPES:
        document = unwrap(document, load)
    return document


def format_of(document: JsonValue) -> Format:
    """Return the format that reads this document.

    Raises:
        Reject: ``reference.unknown_format``.
    """
    for candidate in FORMATS:
        if candidate.recognises(document):
            return candidate
    names = ", ".join(candidate.name for candidate in FORMATS)
    raise Reject(
        "reference.unknown_format",
        f"the value is JSON of no known format ({names}); compare it with docs/input-formats.md",
    )
