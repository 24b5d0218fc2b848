"""What requests to a family of routes must bring."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from workers.serve.caller import Scope

JSON = "application/json"
MULTIPART = "multipart/form-data"
IMAGE = "image/*"
OCTETS = "application/octet-stream"
FORM = "application/x-www-form-urlencoded"
"""What curl says of the bytes that it sends with ``--data-binary``, whatever they are."""
NONE = ""
"""A body without a content type."""


@dataclass(frozen=True, slots=True)
class Family:
    """Routes that ask the same of a request.

    ``paths`` are whole paths, or end in ``*`` for all that begin so. The longest one that fits
    decides. ``label`` stands for the route in metrics where no route was reached. ``accepts`` are
    the content types of a body. A key needs ``scope``; None leaves the scope to the routes. A
    ``public`` family needs no key, and answers while the server drains. ``weighs``: a request
    counts for the key's rate, as one image until the route knows how many there are.
    """

    label: str
    paths: tuple[str, ...]
    accepts: frozenset[str] = frozenset({JSON})
    scope: Scope | None = None
    public: bool = False
    weighs: bool = False

    def accepts_type(self, content_type: str) -> bool:
        """Whether a body of this type is read, such as ``image/png``."""
        return content_type in self.accepts or (
            IMAGE in self.accepts and content_type.startswith("image/")
        )


HEALTH = Family("health", ("/healthz", "/readyz"), public=True)
DOCUMENT = Family("/openapi.json", ("/openapi.json",), public=True)
CONSOLE = Family("console", ("/", "/favicon.ico", "/console/*"), public=True)
CLASSIFY = Family(
    "/v1/classify",
    ("/v1/classify",),
    frozenset({JSON, MULTIPART, IMAGE, OCTETS, FORM, NONE}),
    Scope.CLASSIFY,
    weighs=True,
)
MODELS = Family("/v1/models", ("/v1/models", "/v1/models/*"), scope=Scope.CLASSIFY)
OPENAI = Family("/v1/", ("/v1/embeddings", "/v1/moderations"), scope=Scope.CLASSIFY, weighs=True)
HUGGING_FACE = Family(
    "/hf/", ("/hf/*",), frozenset({JSON, IMAGE, OCTETS, FORM, NONE}), Scope.CLASSIFY, weighs=True
)
LIVE = Family("/v1/live", ("/v1/live", "/v1/live/*"), scope=Scope.LIVE)
LETTERS = Family("/v1/dead-letters", ("/v1/dead-letters",), scope=Scope.DEAD_LETTERS)
REPLAY = Family("/v1/dead-letters/replay", ("/v1/dead-letters/replay",), scope=Scope.REPLAY)
OTHER = Family("other", ("*",))
"""Everything else: the key must be known, and the route asks for its scope."""

FAMILIES = (
    HEALTH,
    DOCUMENT,
    CONSOLE,
    CLASSIFY,
    MODELS,
    OPENAI,
    HUGGING_FACE,
    LIVE,
    LETTERS,
    REPLAY,
    OTHER,
)


class Families:
    """Finds the family of a path."""

    def __init__(self, families: Iterable[Family]) -> None:
        every = [(path, family) for family in families for path in family.paths]
        self._whole = {path: family for path, family in every if not path.endswith("*")}
        below = [(path[:-1], family) for path, family in every if path.endswith("*")]
        self._below = sorted(below, key=lambda each: -len(each[0]))

    def of(self, path: str) -> Family:
        whole = self._whole.get(path)
        if whole is not None:
            return whole
        return next((each for start, each in self._below if path.startswith(start)), OTHER)
