"""A stream worker in a process of its own that runs short of something when it is told to. Its
model costs nothing; all else is the real worker.

The first line of its input are its settings, as JSON; each later one names a shortage. It says
``ready`` when it begins to work, and at its end what ended it.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
import threading
import time
from pathlib import Path

from pipeline.adapters.memory.encoder import MemoryEncoder
from pipeline.errors import Halt
from pipeline.ports import Encoder
from workers.settings.loading import Settings
from workers.stream.wiring import build_stream_worker

FILES, MEMORY = "files", "memory"
"""What can run short."""
MIB = 1 << 20
SPARE_MIB = 10
"""What a process short of memory may still allocate."""
ENDED_BY = 1


def free_model(settings: Settings) -> Encoder:
    return MemoryEncoder()


def use_up_files() -> None:
    """Take every file descriptor that there is, and each that becomes free later."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    held = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (held + 10, hard))
    taken = threading.Event()

    def take() -> None:
        while True:
            try:
                os.open("/dev/null", os.O_RDONLY)
            except OSError as error:
                if error.errno != errno.EMFILE:
                    raise
                taken.set()
                time.sleep(0.001)

    threading.Thread(target=take, daemon=True).start()
    taken.wait()


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPARE_MIB * MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def obey() -> None:
    """Bring about each shortage that is named, and say that it is there."""
    shortages = {FILES: use_up_files, MEMORY: limit_memory}
    for line in sys.stdin:
        shortages[line.strip()]()
        print("done", flush=True)


def main() -> None:
    settings = Settings.model_validate_json(sys.stdin.readline())
    built = build_stream_worker(settings, 0, free_model)
    threading.Thread(target=obey, daemon=True).start()
    print("ready", flush=True)
    try:
        built.worker.run()
    except BaseException as error:
        name = error.code if isinstance(error, Halt) else type(error).__name__
        os.write(1, f"{name} {getattr(error, 'errno', None)}\n".encode())
        # Not in order: a process short of everything cannot be closed as others are.
        os._exit(ENDED_BY)
    built.close()


if __name__ == "__main__":
    main()
