"""The envelope of Amazon SNS, as subscriptions without raw message delivery send it.

Source: Amazon SNS Developer Guide, "HTTP/HTTPS notification JSON format" and "… subscription
confirmation JSON format". Signatures are not verified: Kafka's access rules say who may write.
"""

from __future__ import annotations

from pipeline.formats.fields import Fields
from pipeline.formats.reference import Entries, Format, SkipReason
from pipeline.formats.strict_json import Load
from pipeline.records import JsonValue

_CONTROL_TYPES = ("SubscriptionConfirmation", "UnsubscribeConfirmation")


def unwrap(document: JsonValue, load: Load) -> JsonValue:
    """Return the message of a notification, or the document itself if it is no notification.

    Raises:
        Reject: the message is not a string that holds JSON.
    """
    if _message_type(document) != "Notification":
        return document
    return load(Fields.of(document, "").text("Message"))


def _message_type(document: JsonValue) -> JsonValue:
    if isinstance(document, dict) and "TopicArn" in document:
        return document.get("Type")
    return None


def _recognises(document: JsonValue) -> bool:
    return _message_type(document) in _CONTROL_TYPES


def _entries(document: JsonValue) -> Entries:
    return Entries([document])


def _read(entry: JsonValue, where: str) -> SkipReason:
    return SkipReason.OTHER_EVENT


SNS_CONTROL = Format("SNS confirmation", _recognises, _entries, _read)
