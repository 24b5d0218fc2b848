"""Writes a job's report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from pipeline.backfill import layout
from pipeline.backfill.report.samples import SampledObject
from pipeline.ports import Folder
from workers.backfill.report.gather import Gathered
from workers.backfill.report.page import Choice, render, shown_objects
from workers.backfill.report.thumbnails import thumbnails
from workers.settings.loading import Settings

log = logging.getLogger(__name__)

MOST_PICTURES = 400
"""Pictures of a page. Each has some 5 KB."""


def make_report(settings: Settings, gathered: Gathered, choice: Choice) -> str:
    """The page. Blocks: with thumbnails, some objects are read.

    Raises:
        Halt: with thumbnails, as ``thumbnails``.
    """
    return render(gathered, choice, _pictures(settings, gathered, choice), datetime.now(UTC))


def write_report(settings: Settings, folder: Folder, gathered: Gathered, choice: Choice) -> None:
    """Put the page into the job's output.

    Raises:
        Halt: as ``make_report``.
        StoreDenied, Retry: the output's store failed.
    """
    folder.write(layout.REPORT, make_report(settings, gathered, choice).encode())


def _pictures(
    settings: Settings, gathered: Gathered, choice: Choice
) -> Mapping[SampledObject, str]:
    if not choice.thumbnails:
        return {}
    wanted = shown_objects(gathered, MOST_PICTURES)
    made = thumbnails(settings, wanted)
    log.info("%d of %d pictures could be made", len(made), len(wanted))
    return made
