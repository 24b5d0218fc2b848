"""What a person asks of a plan: a source, and which of its objects."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.adapters.manifests.deciding import Choice
from pipeline.adapters.manifests.kinds import OWN, Dedupe, InputKind, kind_of
from pipeline.backfill.job import Job, Source
from pipeline.errors import Halt


@dataclass(frozen=True, slots=True)
class Request:
    """``limit`` takes the first rows that are left after ``choice``. ``carried`` are columns of an
    own manifest that go into the metadata of results. ``since`` are outputs of earlier jobs, whose
    objects are left out. ``dedupe`` brings rows of equal content together."""

    uri: str
    kind: InputKind
    choice: Choice
    limit: int | None = None
    carried: tuple[str, ...] = ()
    since: tuple[str, ...] = ()
    dedupe: Dedupe | None = None

    @classmethod
    def of(
        cls,
        uri: str,
        kind: InputKind | None = None,
        choice: Choice | None = None,
        limit: int | None = None,
        carried: tuple[str, ...] = (),
        since: tuple[str, ...] = (),
        dedupe: Dedupe | None = None,
    ) -> Request:
        """
        Raises:
            Halt: ``backfill.invalid``: no backfill reads such a source, or an option has no meaning
                for it.
        """
        kind, choice = kind_of(uri, kind), choice or Choice()
        if carried and kind not in OWN:
            raise Halt(
                "backfill.invalid", f"--carry: {uri} is read as {kind}, which has no own columns"
            )
        if choice.all_versions and kind is not InputKind.INVENTORY:
            raise Halt("backfill.invalid", f"--all-versions: {uri} is no S3 Inventory")
        return cls(uri, kind, choice, limit, carried, since, dedupe)

    @property
    def source(self) -> Source:
        """As ``job.json`` keeps it, with the options that decide which rows there are."""
        given = {
            "where": self.choice.where,
            "sample": self.choice.sample,
            "seed": self.choice.seed if self.choice.sample is not None else None,
            "all_versions": "yes" if self.choice.all_versions else None,
            "limit": self.limit,
            "carry": ",".join(self.carried) or None,
            "since": ",".join(self.since) or None,
            "dedupe": self.dedupe,
        }
        return Source(
            uri=self.uri,
            kind=str(self.kind),
            options={name: str(value) for name, value in given.items() if value is not None},
        )

    def require_same(self, job: Job) -> None:
        """
        Raises:
            Halt: ``backfill.another_source``: the job was cut from another source, or with other
                options.
        """
        ours, of_job = _told(self.source), _told(job.source)
        told = [
            f"{name} is {ours.get(name, 'not given')} here and {of_job.get(name, 'not given')} in "
            "the job"
            for name in sorted(ours.keys() | of_job.keys())
            if ours.get(name) != of_job.get(name)
        ]
        if told:
            raise Halt(
                "backfill.another_source",
                f"backfill: the output has a job, whose rows were decided when it began, and "
                f"{'; '.join(told)}; repeat the command of the job, or choose another output",
            )


def _told(source: Source) -> dict[str, str]:
    options = {f"--{name.replace('_', '-')}": value for name, value in source.options.items()}
    return {"the source": source.uri, "--input-kind": source.kind, **options}
