"""The settings of ``clipstream serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.adapters.kafka.policy import check_topic
from pipeline.policy import Policy, Tier


class ServePolicy(Policy):
    """Answering HTTP requests: where, for whom, and how much at a time."""

    tier = Tier.TUNING

    host: Annotated[str, Tier.EVERYDAY] = Field(
        "127.0.0.1",
        description="Address to listen on. Any other than a loopback address needs `serve.keys`.",
    )
    port: Annotated[int, Tier.EVERYDAY] = Field(
        8000, description="Port to listen on.", gt=0, le=65535
    )
    keys: Annotated[Path | None, Tier.EVERYDAY] = Field(
        None,
        description="File of hashed keys, or a folder of such files, as `clipstream keys` writes "
        "them. A change takes effect without a restart. Unset: everybody who reaches the port may "
        "do everything.",
    )
    keys_reload_interval_s: Annotated[float, Tier.EXPERT] = Field(
        5.0,
        description="Seconds between two looks at the files of keys. A revoked key works until the "
        "next look.",
        gt=0,
    )
    identity_header: str | None = Field(
        None,
        description="Header in which a trusted proxy names the person who asks, such as "
        "`x-forwarded-email` of oauth2-proxy. It counts only beside a key that was made with "
        "`keys create --proxy`, which the proxy adds to each request.",
        pattern=r"^[A-Za-z0-9-]{1,100}$",
    )
    default_label_set: str | None = Field(
        None,
        description="Label set of requests that name neither a label set nor labels. Unset: the "
        "first by name that the key may use; for moderations the first of these that covers one of "
        "OpenAI's categories, if there is one.",
    )
    min_replicas: Annotated[int, Tier.EVERYDAY] = Field(
        1, description="Replicas that always run. Each has a model of its own.", gt=0
    )
    max_replicas: int | None = Field(
        None,
        description="Most replicas. Between the two numbers, Ray Serve adds and removes replicas "
        "by the requests in flight. null: always run min_replicas.",
        gt=0,
    )
    proxy: Literal["auto", "haproxy", "python"] = Field(
        "auto",
        description="What accepts connections: HAProxy, or Ray Serve's own proxy in Python, which "
        "takes some 6 times the processor time. `auto`: HAProxy where its package is installed "
        "(Linux on x86-64), else Python.",
    )
    metrics_port: int = Field(
        9600,
        description="Port of replica 0's metrics on each host. Replica n of a host listens n ports "
        "above. 0: any free ports; the discovery file names them (`endpoints.discovery_file`).",
        ge=0,
        le=65535,
    )
    max_wait_s: float | None = Field(
        None,
        description="Longest expected wait for the model, behind the batches that it works on. A "
        "request that would wait longer is refused with status 429. null: as long as the next full "
        "batch of each lane takes, and two batches at least.",
        gt=0,
    )
    max_body_bytes: int = Field(
        33_554_432, description="Largest body of a request.", gt=0, le=1_073_741_824
    )
    max_images: int = Field(64, description="Most images in one request.", gt=0, le=1000)
    max_prompts: int = Field(
        1000, description="Most prompts of one request: those of its labels, or its texts.", gt=0
    )
    max_requests: Annotated[int, Tier.EXPERT] = Field(
        1024, description="Most requests that one replica has in hand.", gt=0
    )
    max_memory_mib: int = Field(
        512,
        description="MiB of bodies and fetched images that one replica holds at a time. A request "
        "that finds no room is refused with status 429.",
        gt=0,
    )
    body_deadline_s: Annotated[float, Tier.EXPERT] = Field(
        20.0, description="Seconds within which a request's body must arrive.", gt=0
    )
    deadline_s: float = Field(60.0, description="Seconds within which a request is answered.", gt=0)
    remembered_prompts: Annotated[int, Tier.EXPERT] = Field(
        10_000,
        description="Prompts of requests whose embeddings are kept in memory: about 2 KiB each.",
        gt=0,
    )
    console: bool = Field(True, description="Whether the console is served at `/`.")
    blur: bool = Field(
        False,
        description="Whether the console blurs images until a person clicks on them. The API sends "
        "images as they are.",
    )
    publish: Literal["none", "kafka"] = Field(
        "none",
        description="`kafka`: the outcome of each image is published to `serve.topic` before the "
        "request is answered. A request whose outcomes cannot be published is refused with status "
        "503.",
    )
    topic: str = Field(
        "clipstream.served",
        description="Topic of the outcomes of images that came over HTTP, if `serve.publish` is "
        "`kafka`.",
    )

    @property
    def most(self) -> int:
        """Replicas that may run at once."""
        return self.min_replicas if self.max_replicas is None else self.max_replicas

    @field_validator("topic")
    @classmethod
    def _legal(cls, name: str) -> str:
        return check_topic(name)

    @model_validator(mode="after")
    def _most_is_not_less(self) -> Self:
        if self.most < self.min_replicas:
            raise ValueError(
                f"max_replicas: is {self.most} and serve.min_replicas is {self.min_replicas}; "
                f"write {self.min_replicas} or more, or leave it out"
            )
        return self
