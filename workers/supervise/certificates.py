"""Shows Prometheus when the certificates that the settings name expire."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from pipeline import metrics
from pipeline.adapters.certificates import expiries
from pipeline.ports import Meter
from workers.looks import Looks
from workers.settings.loading import Settings

log = logging.getLogger(__name__)

INTERVAL_S = 3600.0
"""Time between two looks. The files change every few weeks."""


class Certificates:
    """Looks at the files now, and then every hour in a thread. A file that cannot be read exposes
    nothing, because the parts of a worker that need it say so themselves."""

    def __init__(self, settings: Settings, meter: Meter) -> None:
        self._files = certificate_files(settings)
        self._meter = meter
        self.look()
        self._looks = Looks(self.look, INTERVAL_S, "certificates") if self._files else None

    def close(self) -> None:
        if self._looks is not None:
            self._looks.close()

    def look(self) -> None:
        """Blocks for the reading of a few small files."""
        for setting, file in self._files.items():
            expiry = _expiry(setting, file)
            if expiry is None:
                self._meter.forget(metrics.CERTIFICATE_EXPIRY, setting=setting)
            else:
                self._meter.set(metrics.CERTIFICATE_EXPIRY, expiry, setting=setting)


def certificate_files(settings: Settings) -> Mapping[str, Path]:
    """The settings that name files of certificates → the files."""
    security = settings.kafka.security
    named = {
        "kafka.security.ca_file": security.ca_file,
        "kafka.security.certificate_file": security.certificate_file,
        "https.ca_file": settings.https.ca_file,
        "s3.ca_file": settings.s3.ca_file,
        **{f"stores[{store.name}].ca_file": store.ca_file for store in settings.stores},
    }
    return {setting: Path(file) for setting, file in named.items() if file is not None}


def _expiry(setting: str, file: Path) -> float | None:
    """When the file can no longer be used, in Unix seconds.

    A chain ends with the first certificate that expires. Of several authorities the valid ones go
    on to serve, and bundles hold expired ones."""
    try:
        found = expiries(file)
    except (OSError, ValueError) as problem:
        log.warning("%s: it is not known when %s expires: %s", setting, file, problem)
        return None
    usable_until = max if setting.endswith("ca_file") else min
    return usable_until(found, default=None)
