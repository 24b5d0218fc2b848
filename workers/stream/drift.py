"""Watches results for drift, with the reference that the settings name."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from pipeline.drift.reference import Reference
from pipeline.drift.watching import WatchedScoring
from pipeline.errors import Halt
from pipeline.ports import Meter
from pipeline.records import ModelIdentity
from workers.label_sets import Rules

log = logging.getLogger(__name__)


class DriftWatch:
    """Puts a watch over each new version of the rules, and ends that over the version before.

    A reference that cannot be used stops nothing, because it decides nothing: the log and
    ``clipstream_drift_reference_unfit`` say so.
    """

    def __init__(self, file: Path | None, model: ModelIdentity, meter: Meter) -> None:
        """Without a file, nothing is watched, and the rules stay as they are."""
        self._file = file
        self._model = model
        self._meter = meter
        self._watched: WatchedScoring | None = None

    def over(self, rules: Rules) -> Rules:
        """The rules with a watch over what they score. Reads the file."""
        if self._file is None:
            return rules
        if self._watched is not None:
            self._watched.close()
        self._watched = WatchedScoring(
            rules.scoring, rules.versions, self._read(self._file), self._model, self._meter
        )
        return replace(rules, scoring=self._watched)

    def _read(self, file: Path) -> Reference | None:
        extra = {}
        try:
            return Reference.read(file.read_bytes(), str(file))
        except OSError as error:
            why = (
                f"label_sets.drift_reference: {file} cannot be read ({error.strerror}); nothing is "
                "compared"
            )
        except Halt as invalid:
            why, extra = invalid.message, {"code": invalid.code}
        log.error("drift: %s", why, extra=extra)
        return None
