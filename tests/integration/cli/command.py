"""The installed `eventflows` command as a process: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(sys.executable).with_name("eventflows")
END_TIMEOUT_S = 60.0
LINE_TIMEOUT_S = 30.0
QUESTION = b"[y/N]"
OWN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes the terminal control the command, so that Ctrl-C reaches it. A program of its own: between
fork and exec our code would run in a copy of this process, where gRPC's threads may abort it."""
LINE_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout as one JSON value."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Runs `eventflows` with these variables and no others but PATH and TZ."""

    environ: Mapping[str, str]

    async def __call__(self, *words: str, **environ: str) -> Ended:
        """Run to the end, with nobody to ask."""
        async with self.started(*words, **environ) as process:
            async with asyncio.timeout(END_TIMEOUT_S):
                out, err = await process.communicate()
        assert process.returncode is not None
        return Ended(code=process.returncode, out=out.decode(), err=err.decode())

    async def done(self, *words: str, **environ: str) -> Ended:
        """Run to the end, which must be a good one."""
        ended = await self(*words, **environ)
        assert ended.code == 0, ended
        return ended

    async def at_terminal(
        self, *words: str, answer: bytes = b"", **environ: str
    ) -> tuple[int, str]:
        """Run on a terminal, and type `answer` when it has asked; its code and what was shown."""
        ours, theirs = pty.openpty()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                OWN_TERMINAL,
                SCRIPT,
                *words,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
                env={**self._environment, "TERM": "xterm-256color", **environ},
            )
            os.close(theirs)
            shown = b""
            try:
                async with asyncio.timeout(END_TIMEOUT_S):
                    while answer and QUESTION not in shown:
                        shown += await asyncio.to_thread(os.read, ours, 4096)
                    os.write(ours, answer)
                    shown += await asyncio.to_thread(_rest, ours)
                    code = await process.wait()
            finally:
                if process.returncode is None:  # else the reading thread would never end
                    process.kill()
                    await process.wait()
            return code, shown.decode()
        finally:
            os.close(ours)

    @property
    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "TZ": "UTC", **self.environ}

    @asynccontextmanager
    async def started(
        self, *words: str, **environ: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """A process; killed when the context is left before its end."""
        process = await asyncio.create_subprocess_exec(
            SCRIPT,
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
            env={**self._environment, **environ},
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


def _rest(terminal: int) -> bytes:
    """What is shown until the other side closes, which reading tells by an error."""
    shown = b""
    with suppress(OSError):
        while chunk := os.read(terminal, 4096):
            shown += chunk
    return shown


async def next_line(stream: asyncio.StreamReader | None) -> str:
    """The next line of a running command. Raises TimeoutError."""
    assert stream is not None
    async with asyncio.timeout(LINE_TIMEOUT_S):
        return (await stream.readline()).decode().rstrip("\n")
