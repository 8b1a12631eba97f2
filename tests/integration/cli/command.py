"""The installed `eventflows` command as a process: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(sys.executable).with_name("eventflows")
END_TIMEOUT_S = 60.0
LINE_TIMEOUT_S = 30.0
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
            env={"PATH": os.environ["PATH"], "TZ": "UTC", **self.environ, **environ},
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def next_line(stream: asyncio.StreamReader | None) -> str:
    """The next line of a running command. Raises TimeoutError."""
    assert stream is not None
    async with asyncio.timeout(LINE_TIMEOUT_S):
        return (await stream.readline()).decode().rstrip("\n")
