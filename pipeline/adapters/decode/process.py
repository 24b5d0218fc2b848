"""One decoding child process, as its parent sees it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np

import pipeline
from pipeline.adapters.decode.wire import (
    MAX_DETAIL_BYTES,
    READY_BYTES,
    REPLY_BYTES,
    ChildConfig,
    ProtocolViolation,
    Reply,
    Request,
    unpack_ready,
)
from pipeline.decode.views import Viewing
from pipeline.records import ImageGeometry, Pixels

_BOOTSTRAP: Final = (
    "import runpy, sys; sys.path += sys.argv[3:]; runpy.run_path(sys.argv[1], run_name='__main__')"
)
"""The interpreter is isolated (-I) and without site-packages (-S). The child imports only from the
folders that it is given, and runs no .pth file."""

_INHERITED: Final = ("LD_LIBRARY_PATH",)
"""The only variables of the environment that a child gets: where the interpreter's own libraries
may be."""

_OPTIONAL: Final = ("cykooz_resizer", "pillow_heif", "brotli", "zstandard", "numpy")
"""Libraries, in addition to Pillow, that a child loads if they are installed."""

_SOCKET_BUFFER_BYTES: Final = 212_992
"""Linux's default limit, which Linux doubles. An image's pixels then pass without a pause."""

_REAP_INTERVAL_S: Final = 0.002


class DecodeProcess:
    """A child process and the socket to it.

    Call ``launch``, wait until it is ``ready``, then ``ask`` one image at a time. After anything
    but a complete answer, such as a cancelled ``ask``, only ``end`` may be called. Linux kills the
    child when the thread that launched it ends.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        channel: socket.socket,
        formats: int,
        viewing: Viewing,
    ) -> None:
        self.process = process
        self.served = 0
        self.ending: asyncio.Task[int] | None = None
        self._channel = channel
        self._formats = formats
        self._viewing = viewing

    @classmethod
    def launch(cls, program: Path, config: ChildConfig) -> DecodeProcess:
        """Start a child. Blocks for the milliseconds that fork and exec take.

        Raises:
            OSError: no process, no descriptor, no interpreter or no Pillow.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        command = [sys.executable, "-I", "-S", "-c", _BOOTSTRAP]
        with theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
            try:
                process = subprocess.Popen(  # noqa: S603 - nothing of it comes from outside
                    [*command, str(program), config.to_json(), *_import_roots()],
                    bufsize=0,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    cwd="/",
                    env={name: os.environ[name] for name in _INHERITED if name in os.environ},
                    # Ctrl-C in a terminal reaches the whole session and would end the children
                    # before the worker has drained.
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        return cls(process, ours, len(config.formats), config.viewing)

    async def ready(self) -> bool:
        """Wait until the child can decode. Returns whether its system calls are filtered.

        Raises:
            ConnectionError: the child ended instead.
        """
        frame = np.empty(READY_BYTES, np.uint8)
        await self._receive(frame, 0)
        if self.process.stderr is not None:
            self.process.stderr.close()  # warnings of libraries about files are dropped
        return unpack_ready(frame.tobytes())

    async def ask(
        self, body: bytes, geometry: ImageGeometry, codings: tuple[str, ...] = ()
    ) -> tuple[Reply, Pixels]:
        """Send an image, with the codings of its body, and receive the answer: a header and its
        payload.

        Raises:
            ConnectionError: the child ended, or closed its socket.
            ProtocolViolation: the answer makes no sense.
        """
        self.served += 1
        request = Request(len(body), geometry.resize, geometry.crop, codings)
        await asyncio.get_running_loop().sock_sendall(self._channel, request.pack() + body)
        # One buffer for header and payload saves a read when the answer comes in one piece. Of
        # views that do not come, no memory is touched.
        max_views = self._viewing.most if geometry.crop else 1
        pixel_bytes = max_views * (geometry.crop or geometry.resize) ** 2 * 3
        answer = np.empty(REPLY_BYTES + max(pixel_bytes, MAX_DETAIL_BYTES), np.uint8)
        filled = 0
        while filled < REPLY_BYTES:
            filled = await self._receive(answer, filled)
        header = answer[:REPLY_BYTES].tobytes()
        reply = Reply.unpack(
            header,
            formats=self._formats,
            resize=geometry.resize,
            crop=geometry.crop,
            viewing=self._viewing,
        )
        end = REPLY_BYTES + reply.payload_bytes
        while filled < end:
            filled = await self._receive(answer, filled)
        if filled > end:
            raise ProtocolViolation
        return reply, answer[REPLY_BYTES:end]

    async def _receive(self, buffer: Pixels, filled: int) -> int:
        """Read the available bytes after the first ``filled`` ones. Returns how many are filled
        then."""
        loop = asyncio.get_running_loop()
        received = await loop.sock_recv_into(self._channel, buffer.data[filled:])
        if received == 0:
            raise ConnectionResetError
        return filled + received

    def last_line(self) -> str:
        """The last line that the child wrote before it was ready. Of a traceback, this is the
        error."""
        if self.process.stderr is None or self.process.stderr.closed:
            return ""
        os.set_blocking(self.process.stderr.fileno(), False)
        text = (self.process.stderr.read() or b"").decode("utf-8", "replace").strip()
        return text.rpartition("\n")[2]

    async def end(self) -> int:
        """Kill the child, if it still runs, and reap it. Polls: waiting for a signal or a
        descriptor would tie the decoder to the main thread or to newer kernels, for a wait this
        short."""
        self._channel.close()
        self.process.kill()
        while (code := self.process.poll()) is None:  # noqa: ASYNC110
            await asyncio.sleep(_REAP_INTERVAL_S)
        if self.process.stderr is not None:
            self.process.stderr.close()
        return code


def _import_roots() -> list[str]:
    """Folders where the child finds this package and its libraries. The libraries are not loaded to
    find them."""
    found = importlib.util.find_spec("PIL")
    if found is None or found.origin is None:
        raise FileNotFoundError("Pillow is not installed")
    origins = [pipeline.__file__, found.origin]
    for name in _OPTIONAL:
        optional = importlib.util.find_spec(name)
        if optional is not None and optional.origin is not None:
            origins.append(optional.origin)
    return list(dict.fromkeys(str(Path(origin).parents[1]) for origin in origins))
