"""`--since`: what earlier jobs have, and what their source has lost."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from pipeline.adapters.manifests.earlier import EarlierObjects
from pipeline.adapters.parquet.cutting import Rows
from pipeline.adapters.parquet.plan import stated_objects
from pipeline.backfill import layout
from pipeline.backfill.job import Job
from pipeline.errors import Halt
from pipeline.ports import Folder
from workers.backfill.output import Output, open_output
from workers.settings.loading import Settings


class Since:
    """Leaves out the rows whose objects earlier jobs have. An object of a job counts whether it was
    classified, failed, or waits."""

    def __init__(
        self, settings: Settings, outputs: Iterable[str], tell: Callable[[], object]
    ) -> None:
        """``tell`` is called for each shard of an earlier job.

        Raises:
            Halt: ``backfill.invalid``: an output has no job. ``backfill.plan_missing``.
            StoreDenied, Retry: a store failed.
        """
        self._earlier = EarlierObjects()
        self.rows = 0
        """Rows of the source so far, those included that earlier jobs have."""
        try:
            for output in outputs:
                with contextlib.closing(open_output(settings, Output.of(output))) as folder:
                    read_objects(folder, output, self._earlier, tell)
        except BaseException:
            self.close()
            raise

    def chosen(
        self, rows: Iterable[tuple[int, Rows]], left_out: Counter[str]
    ) -> Iterator[tuple[int, Rows]]:
        """Rows, with the number of the source's entries that were read for them. No row comes
        before all entries are read. ``left_out`` counts the rows that earlier jobs have."""
        for read, some in rows:
            self.rows += some.num_rows
            self._earlier.add(some)
            yield read, some.slice(0, 0)
        new = 0
        for some in self._earlier.new_rows():
            new += some.num_rows
            yield 0, some
        if self.rows - new:
            left_out["earlier"] = self.rows - new

    def removed(self) -> tuple[int, Callable[[], bytes]]:
        """How many objects the source has lost, and how to read the list of them."""
        count, path = self._earlier.removed()
        return count, path.read_bytes

    def close(self) -> None:
        self._earlier.close()


def read_objects(
    folder: Folder, output: str, into: EarlierObjects, tell: Callable[[], object]
) -> None:
    """Read the objects of a job. A plan that states no ETags says little of what was read, so the
    results are read too."""
    found = folder.read(layout.JOB)
    if found is None:
        raise Halt(
            "backfill.invalid", f"--since: {output} holds no job; name the output of an earlier one"
        )
    job = Job.of_bytes(found.body, layout.JOB)
    for shard in range(job.shards):
        tell()
        name = layout.plan_file(job.attempt, shard)
        plan = folder.read(name)
        if plan is None:
            raise Halt(
                "backfill.plan_missing",
                f"{output}: {name} is gone, so nobody knows which objects the job has; restore "
                "it, or leave this output out of --since",
            )
        objects = stated_objects(plan.body)
        into.add_earlier(objects)
        if objects.column("etag").null_count:
            results = folder.read(layout.data_file(shard))
            if results is not None:
                into.add_earlier(stated_objects(results.body))
