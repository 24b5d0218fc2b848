"""Notifications of the Ceph Object Gateway, versions 2.x.

Keys arrive as they are stored: ``populate_event`` in ``rgw_notify.cc`` copies the object's name. In
the documented example ("Bucket Notifications") event names lack ``s3:``, ``size`` is a string, and
``versionId`` is empty if the object has no version.
"""

from __future__ import annotations

from pipeline.formats.s3_notification import Dialect, as_sent

CEPH = Dialect(
    "ceph:s3",
    as_sent,
    # The zone that receives a replicated object sends these events if somebody subscribed.
    created=frozenset({"ObjectSynced:Create", "Replication:Create"}),
)
