"""Notifications of Amazon S3, versions 2.x.

Keys are form-encoded: "red flower.jpg" arrives as ``red+flower.jpg`` (Amazon S3 User Guide, "Event
message structure").
"""

from __future__ import annotations

from pipeline.formats.s3_notification import Dialect, form_decoded

AWS = Dialect("aws:s3", form_decoded)
