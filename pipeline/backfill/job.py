"""What a job is, as ``job.json`` says, and what computes its rows, as ``identity.json`` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from pipeline.backfill import layout
from pipeline.errors import Halt
from pipeline.ports import Folder
from pipeline.records import ModelIdentity

FORMAT = 1
"""Version of the objects below the output prefix."""

CENTRE = "centre"
"""The views of a job that looks at the centred square of the first frame alone."""

Count = Annotated[int, Field(ge=0)]

AnyRecord = TypeVar("AnyRecord", bound="Written")


class Written(BaseModel):
    """A JSON object below a job's output prefix."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def as_bytes(self) -> bytes:
        return self.model_dump_json(indent=1).encode() + b"\n"

    @classmethod
    def of_bytes(cls, body: bytes, name: str) -> Self:
        """
        Raises:
            Halt: ``backfill.unreadable``: another release wrote the object, or another program.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise Halt(
                "backfill.unreadable",
                f"{name}: is not what this release of Clipstream writes "
                f"({error.error_count()} problems, the first: {error.errors()[0]['msg']}); use the "
                "release that began the job, or another output",
            ) from error


class Source(Written):
    """Where the rows come from. ``kind`` is how ``uri`` was read; ``options`` are those of the
    command that decide which rows there are."""

    uri: str
    kind: str
    options: Mapping[str, str] = {}


class Job(Written):
    """A job and its plan. Never changes once it is written.

    ``rows`` were cut into ``shards``, each of at most ``shard_rows``, below ``plan/<attempt>/``.
    ``plan_hash`` is the SHA-256 of the plan files' hashes. ``left_out`` counts the entries of the
    source that became no rows, by reason. ``bytes`` is the sum of the known sizes.
    """

    format: int = FORMAT
    id: str
    created_at: str
    clipstream_version: str
    source: Source
    attempt: str
    rows: Count
    bytes: Count
    shards: Count
    shard_rows: Count
    plan_hash: str
    left_out: Mapping[str, Count] = {}
    repeated: Count = 0
    """Rows of a manifest whose object, in the same version, an earlier row has too."""
    copies: Count | None = None
    """Rows that stand beside a row of the same content in their shard, so that their objects need
    not be read; None if the plan did not look for them."""
    removed: Count | None = None
    """Objects of earlier jobs that the source has lost; None if the job was compared with none."""
    parent: str | None = None
    """Output of the job that this one repeats in part, or scores again."""


def read_job(folder: Folder) -> Job | None:
    """The job of an output, or None if there is none."""
    found = folder.read(layout.JOB)
    return None if found is None else Job.of_bytes(found.body, layout.JOB)


def require_job(folder: Folder, output: str) -> Job:
    """The job of an output, which a command needs. ``output`` is its name, for people.

    Raises:
        Halt: ``backfill.no_job``.
    """
    job = read_job(folder)
    if job is None:
        raise Halt(
            "backfill.no_job",
            f"{output}: holds no job; name the output of `clipstream backfill run`",
        )
    return job


class Identity(Written):
    """What computes the rows of a job. Every worker must be able to say the same."""

    model: str
    revision: str
    dimension: Count
    logit_scale: float
    precision: str
    engine: str
    decode_mode: str
    decode_crop: str
    embedding_dtype: str
    label_sets: Mapping[str, str]
    """Names of the label sets with their versions."""
    decode_views: str = CENTRE
    """Which parts of an image are looked at."""

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what releases before do not know, where it says nothing new."""
        written: dict[str, Any] = write(self)
        if self.decode_views == CENTRE:
            del written["decode_views"]
        return written

    @classmethod
    def of(
        cls,
        model: ModelIdentity,
        *,
        decode_mode: str,
        decode_crop: str,
        embedding_dtype: str,
        label_sets: Mapping[str, str],
        decode_views: str = CENTRE,
    ) -> Self:
        return cls(
            model=model.name,
            revision=model.revision,
            dimension=model.dimension,
            logit_scale=model.logit_scale,
            precision=model.precision,
            engine=model.engine,
            decode_mode=decode_mode,
            decode_crop=decode_crop,
            embedding_dtype=embedding_dtype,
            label_sets=dict(label_sets),
            decode_views=decode_views,
        )

    @property
    def has_views(self) -> bool:
        """Whether more than the centre of an image is looked at."""
        return self.decode_views != CENTRE

    @property
    def of_model(self) -> ModelIdentity:
        """The part that is the model's."""
        return ModelIdentity(
            self.model,
            self.revision,
            self.dimension,
            self.logit_scale,
            self.precision,
            self.engine,
        )

    def difference(self, here: Identity) -> str | None:
        """What would be computed differently here, in words; None if nothing would."""
        told = [
            f"{name} is {ours} here and {in_job} in the job"
            for name in type(self).model_fields
            for ours, in_job in [(getattr(here, name), getattr(self, name))]
            if ours != in_job and name != "label_sets"
        ]
        for name in sorted(self.label_sets.keys() | here.label_sets.keys()):
            job, ours = self.label_sets.get(name), here.label_sets.get(name)
            if job != ours:
                told.append(
                    f"label set {name} is {ours or 'not loaded'} here and "
                    f"{job or 'not loaded'} in the job"
                )
        return "; ".join(told) or None

    def require(self, here: Identity) -> None:
        """
        Raises:
            Halt: ``backfill.another_identity``.
        """
        if (told := self.difference(here)) is not None:
            raise Halt(
                "backfill.another_identity",
                f"backfill: rows of one job are computed in one way, and {told}; restore what the "
                "job began with, or begin another job with another output",
            )
