"""A child program for tests: the product's, with faults that a file can ask for by its bytes.

Bytes that begin with ``fault:NAME:`` make the child misbehave; what follows is decoded where the
fault lets it live. Everything else, confinement included, is as in the product.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable

from pipeline.adapters.decode.child import Decode, main
from pipeline.adapters.decode.pillow import Decoded
from pipeline.adapters.decode.wire import ChildConfig, Refused, Verdict

PREFIX = b"fault:"

served = 0


def crash(_: bytes) -> None:
    ctypes.string_at(0)


def crash_unless_fresh(_: bytes) -> None:
    if served > 1:
        ctypes.string_at(0)


def hang(_: bytes) -> None:
    while True:
        pass


def hang_unless_fresh(_: bytes) -> None:
    while served > 1:
        pass


def hang_while_disarmed(_: bytes) -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    while True:
        pass


def devour_memory(_: bytes) -> None:
    hoard = []
    while True:
        hoard.append(bytearray(b"x" * 10_000_000))


def leave(_: bytes) -> None:
    os._exit(3)


def babble(_: bytes) -> None:
    os.write(0, b"\xff" * 1_000)


def report_process(_: bytes) -> None:
    raise Refused(Verdict.CORRUPT, str(os.getpid()))


def report_environment(_: bytes) -> None:
    raise Refused(Verdict.CORRUPT, " ".join(sorted(os.environ)))


def report_control_characters(_: bytes) -> None:
    raise Refused(Verdict.CORRUPT, "\x1b[31mred\n\x00\u202eevil")


def report_escapes(_: bytes) -> None:
    """Name each way out that was open."""
    parent = ChildConfig.from_json(sys.argv[2]).parent_pid
    ways: dict[str, Callable[[], object]] = {
        "read a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "read the parent's environment": lambda: os.open(f"/proc/{parent}/environ", os.O_RDONLY),
        "write a file": lambda: os.open("/tmp/escaped", os.O_WRONLY | os.O_CREAT),
        "list a folder": lambda: os.scandir("/"),
        "make a socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "copy a descriptor": lambda: os.dup(0),
        "fork": os.fork,
        "start a program": lambda: os.execv("/bin/true", ["true"]),
        "start a thread": lambda: threading.Thread(target=int).start(),
        "signal the parent": lambda: os.kill(parent, 0),
        "read the parent's limits": lambda: resource.prlimit(parent, resource.RLIMIT_AS),
    }
    opened = []
    for way, attempt in ways.items():
        with contextlib.suppress(OSError, RuntimeError):
            attempt()
            opened.append(way)
    raise Refused(Verdict.CORRUPT, "; ".join(opened))


FAULTS: dict[bytes, Callable[[bytes], None]] = {
    name.encode(): fault
    for name, fault in globals().items()
    if callable(fault) and getattr(fault, "__module__", None) == __name__
}


def with_faults(decode: Decode) -> Decode:
    def decode_or_fail(body: bytes, resize: int, crop: int) -> Decoded:
        global served
        served += 1
        if body.startswith(PREFIX):
            _, name, body = body.split(b":", 2)
            FAULTS[name](body)
        return decode(body, resize, crop)

    return decode_or_fail


if __name__ == "__main__":
    main(with_faults)
