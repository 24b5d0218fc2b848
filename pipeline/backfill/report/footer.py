"""What a data file says about itself, in its key-value metadata under ``clipstream``."""

from __future__ import annotations

from pydantic import ConfigDict

from pipeline.backfill.job import Count, Identity, Written
from pipeline.backfill.report.pace import Span
from pipeline.backfill.report.samples import Samples
from pipeline.backfill.summary import Summary


class Footer(Written):
    """``attempt`` wrote the file. ``errors_file`` has the shard's failed rows, None if there are
    none. ``began_at`` and ``ended_at`` are Unix seconds, by the clock of ``worker``, which had
    ``gpus`` of a GPU."""

    # A later release may say more. Whoever rewrites the file keeps it.
    model_config = ConfigDict(frozen=True, extra="allow")

    job: str
    shard: Count
    attempt: str
    plan_hash: str
    errors_file: str | None = None
    clipstream_version: str
    identity: Identity
    summary: Summary
    samples: Samples = Samples()
    began_at: float = 0.0
    ended_at: float = 0.0
    worker: str = ""
    gpus: float = 0.0

    @property
    def span(self) -> Span:
        return Span(self.began_at, self.ended_at, self.summary.rows, self.worker, self.gpus)
