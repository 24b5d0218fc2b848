"""The pipeline's own exceptions: their tree, and that they come through pickling whole."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from pipeline import errors
from pipeline.errors import (
    CommitDoubtful,
    DeviceOutOfMemory,
    Halt,
    OutcomeTooLarge,
    PipelineError,
    PoisonedBatch,
    Reject,
    Retry,
    StoreDenied,
    Unconfirmed,
    WorkerLost,
)


def test_the_drawn_tree_is_the_one_of_the_classes() -> None:
    """A class stands three columns further right than its base."""
    parents: dict[int, str] = {}
    drawn = {}
    for indent, name in re.findall(r"^    ([ │├└─]*)(\w+)", errors.__doc__ or "", re.MULTILINE):
        depth = len(indent) // 3
        parents[depth] = name
        if depth:
            drawn[name] = parents[depth - 1]
    assert drawn == {
        kind.__name__: kind.__base__.__name__
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, Exception) and kind.__base__ is not None
    }


@pytest.mark.parametrize(
    "error",
    [
        PipelineError("a.b", "what"),
        Reject("decode.corrupt", "what", attempts=2, format="gif"),
        Retry("a.b", "what", 1.5),
        StoreDenied("a.b", "what", 1.5),
        CommitDoubtful("a.b", "what"),
        Unconfirmed("a.b", "what"),
        Halt("a.b", "what"),
        WorkerLost("a.b", "what"),
        PoisonedBatch("what"),
        DeviceOutOfMemory("what"),
        OutcomeTooLarge(3, "what"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_through_pickling_whole(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))
