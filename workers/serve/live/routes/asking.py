"""What the routes share: the scope of a key, and failures of the stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from pipeline.errors import Halt
from workers.serve.caller import Admitted, Scope, require
from workers.serve.errors import ApiError


def needing(scope: Scope, request: Request) -> Admitted:
    """The admitted request, if its key has the scope.

    Raises:
        ApiError: 403.
    """
    admitted: Admitted = request.state.admitted
    require(admitted.caller, scope)
    return admitted


@contextmanager
def asking_the_stream() -> Iterator[None]:
    """A Kafka that refuses is no reason to end this replica, which can answer everything else.

    Raises:
        ApiError: 503, with the code of the Halt.
    """
    try:
        yield
    except Halt as refused:
        raise ApiError(503, refused.code, refused.message) from refused
