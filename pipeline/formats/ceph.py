"""Ceph Object Gateway's notifications, versions 2.x.

Keys come as they are stored: ``populate_event`` in ``rgw_notify.cc`` copies the object's name. In
the documented example ("Bucket Notifications") names of events lack ``s3:``, ``size`` is a string,
and ``versionId`` is empty where there is none.
"""

from __future__ import annotations

from pipeline.formats.s3_notification import Dialect, as_sent

CEPH = Dialect(
    "ceph:s3",
    as_sent,
    # Sent by the zone to which an object was replicated, where somebody asked for it.
    created=frozenset({"ObjectSynced:Create", "Replication:Create"}),
)
