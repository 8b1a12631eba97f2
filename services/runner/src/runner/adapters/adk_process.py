"""One warm process of an ADK algorithm: loaded once, then one request at a time."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner.adapters.answer_pipe import AnswerPipe, OversizedLine
from runner.adapters.child_process import ChildLimits, ChildProcess, Tail
from runner.domain import adk_protocol
from runner.domain.limits import (
    ANSWER_LINE_BYTES_MAX,
    RUN_OUTPUT_BYTES_MAX,
    STDERR_TAIL_BYTES_MAX,
)
from runner.domain.run import (
    LOADING_ERROR,
    SYSTEM_EXIT,
    TIMEOUT_ERROR,
    Execution,
    Payload,
    RunError,
)

STOP_GRACE_S: Final = 3.0
"""After end of file on stdin, as Algorithmia's own runner waits (`algorithmia-api.md` 4.6)."""
SYSTEM_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_CHILD: Final = Path(__file__).with_name("adk_child.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdkProgram:
    """A built algorithm: its checked-out files, its interpreter, the module to import."""

    source: Path
    python: Path
    module: str


class NotLoaded(Exception):
    """The process ended, or took too long, before it was loaded. `error` is for the run."""

    def __init__(self, error: RunError, output: str) -> None:
        super().__init__(error.message)
        self.error = error
        self.output = output


class AdkProcess:
    """Made by `start`; `run` it, one request at a time, while it is `usable`; `stop` it."""

    def __init__(self, child: ChildProcess, answers: AnswerPipe, home: Path) -> None:
        self._child, self._answers, self._home = child, answers, home
        self._usable = True
        self.load_error: RunError | None = None
        """Why loading failed; the process lives on and answers every request with it."""
        self.started_s = time.monotonic()
        self.idle_since_s = self.started_s
        child.exited.add_done_callback(lambda _: answers.end())

    @classmethod
    async def start(
        cls, program: AdkProgram, *, homes: Path, limits: ChildLimits, load_timeout_s: float
    ) -> AdkProcess:
        """Start and load. Its home (and FIFO) is a new folder below `homes`, gone with it.

        Raises NotLoaded; an algorithm whose `load` raised is a success with `load_error` set.
        """
        home = _new_home(homes)
        answers = AnswerPipe(home / "algoout", line_bytes_max=ANSWER_LINE_BYTES_MAX)
        process: AdkProcess | None = None
        try:
            child = await ChildProcess.spawn(
                _command(program, home / "algoout"),
                cwd=program.source,
                env=environment(program, home),
                limits=limits,
                output=Tail(RUN_OUTPUT_BYTES_MAX),
                errors=Tail(STDERR_TAIL_BYTES_MAX),
            )
            process = cls(child, answers, home)
            await process._wait_loaded(load_timeout_s)
        except BaseException:
            if process is not None:
                await process.stop()
            else:
                answers.close()
                shutil.rmtree(home, ignore_errors=True)
            raise
        return process

    @property
    def pid(self) -> int:
        """Also the number of its process group."""
        return self._child.pid

    @property
    def usable(self) -> bool:
        """May it take the next request: alive, and in step with its requests?"""
        return self._usable and self._child.running and self._answers.idle

    def cpu_s(self) -> float:
        """Processor time that it has used; 0 when it is gone or the system does not tell."""
        try:
            text = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return 0.0
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def retire(self) -> None:
        """Take no further request; one that runs goes on."""
        self._usable = False

    async def run(self, payload: Payload, *, timeout_s: float) -> Execution:
        """One request. Whatever the algorithm does is an Execution.

        Cancelling kills the process group, since its answer would belong to nobody.
        """
        self._child.drain()
        self._child.output.clear()
        self._child.errors.clear()
        started_s = time.monotonic()
        self._child.write(adk_protocol.request_line(payload))
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._answers.line()
        except TimeoutError:
            outcome: Payload | RunError = await self._kill_late(timeout_s)
        except asyncio.CancelledError:
            self._usable = False
            self._child.kill()
            raise
        else:
            outcome = self._outcome(line)
        duration_s = time.monotonic() - started_s
        self._child.drain()
        self.idle_since_s = time.monotonic()
        return Execution(outcome=outcome, duration_s=duration_s, stdout=self._child.output.text())

    async def stop(self) -> None:
        """Let it end by itself within the grace, then kill its group. Harmless twice."""
        self._usable = False
        await self._child.stop(grace_s=STOP_GRACE_S)
        self._answers.close()
        await asyncio.to_thread(shutil.rmtree, self._home, ignore_errors=True)

    def _outcome(self, line: bytes | OversizedLine | None) -> Payload | RunError:
        if line is None:
            self._usable = False
            return RunError(message=self._how_it_ended(), error_type=SYSTEM_EXIT)
        if isinstance(line, OversizedLine):
            return adk_protocol.too_large(line.size_bytes)
        return adk_protocol.parse_answer(line)

    async def _kill_late(self, timeout_s: float) -> RunError:
        self._usable = False
        await self._child.stop()
        return RunError(
            message=f"algorithm timed out: it gave no answer within {timeout_s:g} seconds",
            error_type=TIMEOUT_ERROR,
            timed_out=True,
        )

    async def _wait_loaded(self, load_timeout_s: float) -> None:
        try:
            async with asyncio.timeout(load_timeout_s):
                line = await self._answers.line()
        except TimeoutError:
            await self._child.stop()
            message = f"the algorithm was not loaded within {load_timeout_s:g} seconds"
            raise self._not_loaded(message) from None
        if line is None:
            raise self._not_loaded(self._how_it_ended())
        if isinstance(line, OversizedLine):
            raise self._not_loaded("it wrote to the answer pipe before it was loaded")
        self.load_error = adk_protocol.parse_load_report(line)

    def _not_loaded(self, message: str) -> NotLoaded:
        error = RunError(message=message, error_type=LOADING_ERROR)
        return NotLoaded(error, self._child.output.text())

    def _how_it_ended(self) -> str:
        code = self._child.exited.result()
        name = ""
        if code < 0:
            with suppress(ValueError):
                name = f" ({signal.Signals(-code).name})"
        tail = self._child.errors.text().strip()
        return f"exited with code {code}{name}" + (f"\n{tail}" if tail else "")


def _new_home(homes: Path) -> Path:
    homes.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="adk-", dir=homes))


def environment(program: AdkProgram, home: Path) -> Mapping[str, str]:
    """All that an algorithm sees of its environment: nothing of the runner's own."""
    return {
        "PATH": f"{program.python.parent}:{SYSTEM_PATH}",
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONPATH": str(program.source),
    }


def _command(program: AdkProgram, fifo: Path) -> list[str]:
    python = str(program.python)
    return [python, "-I", "-X", "utf8", str(_CHILD), str(fifo), program.module]
