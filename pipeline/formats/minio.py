"""Notifications of MinIO, version 2.0, as its Kafka target writes them.

Keys are form-encoded, slashes included (Go's ``url.QueryEscape`` in ``cmd/event-notification.go``;
minio/minio#7665). The fields ``EventName`` and ``Key`` next to ``Records`` repeat the first entry
in another form, and are not read.
"""

from __future__ import annotations

from pipeline.formats.s3_notification import Dialect, form_decoded

MINIO = Dialect(
    "minio:s3",
    form_decoded,
    # Changes of an object's tags or locks. MinIO reports them as creations.
    unchanged=frozenset(
        {
            "ObjectCreated:PutTagging",
            "ObjectCreated:DeleteTagging",
            "ObjectCreated:PutRetention",
            "ObjectCreated:PutLegalHold",
        }
    ),
    # Releases before versioning (2020) sent it for every object; so does the documented example.
    no_versions=frozenset({"1"}),
    omits_zero_size=True,
)
