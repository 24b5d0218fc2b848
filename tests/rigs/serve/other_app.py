"""Another application on a Ray Serve that several share. Run as a program:
``python -m tests.rigs.serve.other_app PORT``; it stays when the program has ended."""

from __future__ import annotations

import logging
import sys
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions


class Other:
    async def __call__(self, _: object) -> str:
        return "still here"


def main() -> None:
    ray.init(logging_level=logging.WARNING)
    serve.start(http_options=HTTPOptions(port=int(sys.argv[1])))
    deployment: Any = serve.deployment(Other, name="other", ray_actor_options={"num_cpus": 0.1})
    serve.run(deployment.bind(), name="other", route_prefix="/other")


if __name__ == "__main__":
    main()
