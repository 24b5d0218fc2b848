"""The process that ``between`` measures: a whole stream worker, but for its decoder and model."""

from __future__ import annotations

from pipeline.ports import Encoder
from tests.benchmarks import counted_worker
from tests.rigs.stages.at_no_cost import NullDecoder, NullEncoder
from workers import decoding
from workers.settings.loading import Settings


def null_encoder(settings: Settings) -> Encoder:
    return NullEncoder()


def main() -> None:
    vars(decoding).update(SandboxedDecoder=NullDecoder)
    counted_worker.main(null_encoder)


if __name__ == "__main__":
    main()
