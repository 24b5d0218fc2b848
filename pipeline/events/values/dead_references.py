"""The values of dead letters that hold a reference, as in ``outcomes``."""

from __future__ import annotations

from typing import Any, NotRequired

from typing_extensions import TypedDict  # pydantic refuses typing's below Python 3.12

from pipeline.events.values.outcomes import MatchValue, described


@described
class AskedValue(TypedDict):
    """What the sender of the reference asked for, before a route decided."""

    label_sets: list[str]
    """Label sets that the sender asked for, usually none."""
    tenant: NotRequired[str]
    """Tenant that the sender named."""


@described
class DeadReferenceValue(TypedDict):
    """A reference that could not be classified: the value of a `clipstream.dead-letter.v1` event
    whose header `dlq.payload` is `reference`.

    The value is in the native input format, so it can be published to an input topic unchanged.
    Unknown fields are left out.
    """

    bucket: str
    """Bucket of the object."""
    key: str
    """Key of the object, as it is stored."""
    label_sets: list[str]
    """Label sets that the route decided. If the routes refused the reference: those that it asked
    for, perhaps none."""
    version_id: NotRequired[str]
    """Version that the reference asked for."""
    etag: NotRequired[str]
    """ETag that the reference asked for, without quotes."""
    id: NotRequired[str]
    """The sender's own id of the image."""
    tenant: NotRequired[str]
    """Tenant that the route decided. If the routes refused the reference: the one it asked for."""
    metadata: NotRequired[dict[str, Any]]
    """The sender's metadata."""
    asked: NotRequired[AskedValue]
    """What the sender asked for. `clipstream replay` asks for the same again. Absent in dead
    letters of releases that did not write it. Without meaning in an input record."""
    matches: NotRequired[list[MatchValue]]
    """Lists of known pictures that have the file. Absent if none has. Without meaning in an input
    record."""


@described
class DeadReferenceValueV2(TypedDict):
    """A reference that could not be classified: the value of a `clipstream.dead-letter.v2` event
    whose header `dlq.payload` is `reference`.

    The value is in the native input format, so it can be published to an input topic unchanged.
    Unknown fields are left out.
    """

    uri: str
    """`https://host/path`, without the query."""
    query: NotRequired[str]
    """Query of the URL, without the question mark. It may hold a signature, so it is in no other
    event. A replay reads the same URL."""
    bucket: NotRequired[str]
    """Bucket of the object. Absent for an image on a web server."""
    key: NotRequired[str]
    """Key of the object. Absent for an image on a web server."""
    label_sets: list[str]
    """Label sets that the route decided. If the routes refused the reference: those that it asked
    for, perhaps none."""
    etag: NotRequired[str]
    """ETag that the reference asked for, without quotes."""
    id: NotRequired[str]
    """The sender's own id of the image."""
    tenant: NotRequired[str]
    """Tenant that the route decided. If the routes refused the reference: the one it asked for."""
    metadata: NotRequired[dict[str, Any]]
    """The sender's metadata."""
    asked: NotRequired[AskedValue]
    """What the sender asked for. `clipstream replay` asks for the same again. Without meaning in an
    input record."""
    matches: NotRequired[list[MatchValue]]
    """Lists of known pictures that have the file. Absent if none has. Without meaning in an input
    record."""
