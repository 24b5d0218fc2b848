"""A short cut of `make mutate`: files with flipped bits, each with one outcome."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from pipeline.decode.policy import DecodePolicy
from pipeline.decode.views import ANIMATED
from tests.component.mutants import (
    FORMATS,
    POLICY,
    animations,
    decode_all,
    mutants,
    odd_images,
    originals,
)

SEED = 20_260_101
MUTANTS = 150


def test_files_with_flipped_bits_have_one_outcome_each_and_harm_no_neighbour(
    photos: list[tuple[str, bytes]], test_data: Path | None
) -> None:
    files = originals([body for _, body in photos], odd_images(test_data))
    tally = asyncio.run(decode_all(mutants(files, MUTANTS, random.Random(SEED))))
    assert tally.outcomes.total() == MUTANTS
    assert {name for name, _ in tally.outcomes} == set(FORMATS)
    codes = {code for _, code in tally.outcomes}
    # Some flips are harmless, some are not; none is slow, large or deadly.
    assert {"decoded", "decode.corrupt"} <= codes
    assert tally.good > 0


def test_animations_with_flipped_bits_have_one_outcome_each_however_many_frames_are_seen(
    photos: list[tuple[str, bytes]],
) -> None:
    files = animations([body for _, body in photos])
    views = DecodePolicy.model_validate(POLICY.model_dump() | {"views": "all"})
    tally = asyncio.run(decode_all(mutants(files, MUTANTS, random.Random(SEED)), views))
    assert tally.outcomes.total() == MUTANTS
    assert {name for name, _ in tally.outcomes} == ANIMATED
    assert {"decoded", "decode.corrupt"} <= {code for _, code in tally.outcomes}
    assert tally.good > 0
