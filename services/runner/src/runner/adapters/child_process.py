"""One child of the runner: its own process group, a clean environment, limits, bounded output.

Everything the child wrote before an instant can be had at that instant (`drain`), since the pipes
are ours and not the event loop's. The whole group is killed when the child ends, however it ends;
a grandchild that leaves the group (`setsid`) escapes that.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, cast

READ_BYTES: Final = 256 * 1024
READS_A_TURN_MAX: Final = 64
"""So that a child that never stops printing cannot keep the event loop to itself."""
KILL_WAIT_S: Final = 5.0
PIPE_BYTES: Final = 1024 * 1024
_SET_PIPE_SIZE: Final = 1031  # F_SETPIPE_SZ of Linux; Python 3.11 names it on Linux only
_LIMITED_EXEC: Final = Path(__file__).with_name("limited_exec.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildLimits:
    """What one child may use; None: as the runner itself."""

    data_bytes: int | None = None
    """Private writable memory."""
    cpu_s: int | None = None
    """Of its whole life; SIGKILL after it."""
    files: int | None = None
    file_bytes: int | None = None
    """Of one file that it writes."""

    def options(self) -> list[str]:
        """As `limited_exec` reads them."""
        given = {
            "data_bytes": self.data_bytes,
            "cpu_s": self.cpu_s,
            "files": self.files,
            "file_bytes": self.file_bytes,
        }
        return [f"{name}={value}" for name, value in given.items() if value is not None]


class Tail:
    """The newest bytes of a stream."""

    __slots__ = ("_bytes", "_max")

    def __init__(self, bytes_max: int) -> None:
        self._bytes = bytearray()
        self._max = bytes_max

    def add(self, data: bytes) -> None:
        """Append, and let the oldest go when it is too much."""
        self._bytes += data[-self._max :]
        if len(self._bytes) > self._max:
            del self._bytes[: len(self._bytes) - self._max]

    def clear(self) -> None:
        """Forget all."""
        self._bytes.clear()

    def text(self) -> str:
        """As text; what is not UTF-8 is replaced."""
        return self._bytes.decode("utf-8", "replace")


class PipeReader:
    """Reads one non-blocking descriptor whenever it has something, and owns it."""

    def __init__(self, fd: int, sink: Callable[[bytes], None]) -> None:
        os.set_blocking(fd, False)
        with suppress(OSError):  # only speed: the system's budget for pipes may be used up
            fcntl.fcntl(fd, _SET_PIPE_SIZE, PIPE_BYTES)
        self._fd, self._sink = fd, sink
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self.drain)

    def drain(self) -> None:
        """Pass on what is there now; never waits."""
        for _ in range(READS_A_TURN_MAX):
            if self._fd < 0:
                return
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self.close()
                return
            self._sink(data)

    def close(self) -> None:
        """Harmless twice."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


class ChildProcess(asyncio.SubprocessProtocol):
    """A running child. Make it with `spawn`, end it with `kill` or `stop`."""

    def __init__(self, *, output: Tail, errors: Tail) -> None:
        self.output, self.errors = output, errors
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Its exit code; minus the signal's number when one ended it."""
        self._readers: list[PipeReader] = []
        self._transport: asyncio.SubprocessTransport | None = None

    @classmethod
    async def spawn(
        cls,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        limits: ChildLimits,
        output: Tail,
        errors: Tail,
    ) -> Self:
        """Start `argv` (absolute path first). `output` gets stdout and stderr, `errors` stderr."""
        loop = asyncio.get_running_loop()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        child = cls(output=output, errors=errors)
        child._readers = [PipeReader(out_read, output.add), PipeReader(err_read, child._add_error)]
        parent = f"parent={os.getpid()}"
        wrapper = [sys.executable, "-I", "-S", str(_LIMITED_EXEC), *limits.options(), parent, "--"]
        try:
            transport, _ = await loop.subprocess_exec(
                lambda: child,
                *wrapper,
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=out_write,
                stderr=err_write,
                cwd=str(cwd),
                env=dict(env),
                start_new_session=True,
            )
        except BaseException:
            child.close()
            raise
        finally:
            os.close(out_write)
            os.close(err_write)
        child._transport = transport
        return child

    @property
    def pid(self) -> int:
        """Also the number of its process group."""
        assert self._transport is not None
        return self._transport.get_pid()

    @property
    def running(self) -> bool:
        """Has it not been seen to end?"""
        return not self.exited.done()

    def write(self, data: bytes) -> None:
        """To its stdin, without waiting: what the pipe does not take is kept (one request)."""
        stdin = self._stdin()
        if stdin is not None and not stdin.is_closing():
            stdin.write(data)

    def end_input(self) -> None:
        """End of file on its stdin: an ADK process leaves its loop."""
        stdin = self._stdin()
        if stdin is not None:
            stdin.close()

    def drain(self) -> None:
        """Take in all that it has printed so far."""
        for reader in self._readers:
            reader.drain()

    def kill(self) -> None:
        """SIGKILL to the child and everything in its group. Nothing once the child was seen to end:
        its group died with it, and the system may have given the number to another one."""
        if self.running:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    async def stop(self, *, grace_s: float = 0.0) -> None:
        """End of file first when there is a grace, then SIGKILL; returns when it is gone."""
        if self.running and grace_s > 0:
            self.end_input()
            await asyncio.wait([self.exited], timeout=grace_s)
        self.kill()
        await asyncio.wait([self.exited], timeout=KILL_WAIT_S)
        self.close()

    def close(self) -> None:
        """Give the descriptors back. Harmless twice."""
        for reader in self._readers:
            reader.close()
        if self._transport is not None:
            self._transport.close()

    def process_exited(self) -> None:
        """Called by the event loop. Its group dies with it."""
        self.kill()
        self.drain()
        assert self._transport is not None
        code = self._transport.get_returncode()
        if not self.exited.done():
            self.exited.set_result(code if code is not None else -signal.SIGKILL)

    def _add_error(self, data: bytes) -> None:
        self.output.add(data)
        self.errors.add(data)

    def _stdin(self) -> asyncio.WriteTransport | None:
        assert self._transport is not None
        return cast("asyncio.WriteTransport | None", self._transport.get_pipe_transport(0))
