"""The FIFO in which an algorithm's process answers: read without blocking, line by line, bounded.

The ADK opens, writes and closes it for each answer. We hold it open for reading *and* writing, so
its open never blocks and its close is never the end of the file for us.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from runner.adapters.child_process import PipeReader

FIFO_MODE = 0o600


@dataclass(frozen=True, slots=True)
class OversizedLine:
    """A line above the limit: read to its end, not kept."""

    size_bytes: int


class AnswerPipe:
    """One reader at a time waits in `line`."""

    def __init__(self, path: Path, *, line_bytes_max: int) -> None:
        """Makes the FIFO; `path` must not exist."""
        os.mkfifo(path, FIFO_MODE)
        self._max = line_bytes_max
        self._line = bytearray()
        self._size_bytes = 0
        self._lines: list[bytes | OversizedLine] = []
        self._waiter: asyncio.Future[bytes | OversizedLine | None] | None = None
        self._ended = False
        read = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._keep_open = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._reader = PipeReader(read, self._take)

    @property
    def idle(self) -> bool:
        """Is there nothing that nobody asked for?"""
        self._reader.drain()
        return not self._lines and not self._size_bytes

    async def line(self) -> bytes | OversizedLine | None:
        """The next line, or None once `end` was called and no line is left."""
        if self._lines:
            return self._lines.pop(0)
        if self._ended:
            return None
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def end(self) -> None:
        """The writer is gone: take what it left, then let the waiting reader know."""
        self._reader.drain()
        self._ended = True
        self._hand_over()

    def close(self) -> None:
        """Give the descriptors back. Harmless twice."""
        self._ended = True
        self._reader.close()
        if self._keep_open >= 0:
            os.close(self._keep_open)
            self._keep_open = -1

    def _take(self, data: bytes) -> None:
        start = 0
        while (newline := data.find(b"\n", start)) >= 0:
            self._grow(data[start:newline])
            oversized = self._size_bytes > self._max
            done = OversizedLine(self._size_bytes) if oversized else bytes(self._line)
            self._lines.append(done)
            self._line.clear()
            self._size_bytes = 0
            start = newline + 1
            if len(self._lines) > 1:
                # One answer a request: whoever writes more is not trusted again, see `idle`.
                del self._lines[2:]
        self._grow(data[start:])
        self._hand_over()

    def _grow(self, part: bytes) -> None:
        self._size_bytes += len(part)
        if self._size_bytes <= self._max:
            self._line += part
        else:
            self._line.clear()

    def _hand_over(self) -> None:
        if self._waiter is None or self._waiter.done():
            return
        if self._lines:
            self._waiter.set_result(self._lines.pop(0))
        elif self._ended:
            self._waiter.set_result(None)
