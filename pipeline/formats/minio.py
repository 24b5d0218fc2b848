"""MinIO's notifications, version 2.0, as its Kafka target writes them.

Keys are form-encoded, slashes included (Go's ``url.QueryEscape`` in ``cmd/event-notification.go``;
minio/minio#7665). ``EventName`` and ``Key`` beside ``Records`` repeat the first entry in other
words and are not read.
"""

from __future__ import annotations

from pipeline.formats.s3_notification import Dialect, form_decoded

MINIO = Dialect(
    "minio:s3",
    form_decoded,
    # Changes of an object's tags or locks, which MinIO counts among the creations.
    unchanged=frozenset(
        {
            "ObjectCreated:PutTagging",
            "ObjectCreated:DeleteTagging",
            "ObjectCreated:PutRetention",
            "ObjectCreated:PutLegalHold",
        }
    ),
    # What releases before versioning (2020) sent for every object, as the documented example does.
    no_versions=frozenset({"1"}),
    omits_zero_size=True,
)
