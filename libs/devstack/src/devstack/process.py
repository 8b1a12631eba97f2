"""One real process with a log file that cannot outlive us.

Price: Linux only (parent-death signal, pidfd), and processes can be spawned from the main thread
only, because the parent-death signal fires when the *thread* that spawned ends.
"""

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from devstack.errors import DevstackError, DiedAtStart, NotReadyInTime, StartFailed, StopFailed

READY_TIMEOUT_S = 60.0
PROBE_PAUSE_S = 0.05
STATE_PAUSE_S = 0.001
STOP_TIMEOUT_S = 15.0
KILL_TIMEOUT_S = 10.0
LOG_TAIL_BYTES_MAX = 8 * 1024
LOG_TAIL_LINES_MAX = 40

_LAUNCH = Path(__file__).with_name("launch.py")


class Process:
    """A child process in a group of its own, killed by the kernel when we die in any way.

    Both output streams are appended to `log_path`. `kill`, `pause` and `resume` reach all its
    descendants, also those that left the group (PostgreSQL's backends do).
    """

    def __init__(
        self, child: "subprocess.Popen[bytes]", *, name: str, log_path: Path, stop_signal: int
    ) -> None:
        """Use `spawn`."""
        self.name = name
        self.log_path = log_path
        self._child = child
        self._stop_signal = stop_signal

    @classmethod
    def spawn(
        cls,
        argv: Sequence[str],
        *,
        log_path: Path,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        cpus: set[int] | None = None,
        user_ids: tuple[int, int] | None = None,
        stop_signal: int = signal.SIGTERM,
    ) -> Self:
        """Start `argv` and return at once.

        `env` is added to our own environment; `cpus` pins the process; `user_ids` (uid, gid) drops
        root. An `argv[0]` that cannot be run shows up as an early end with the reason in the log.
        Raises DevstackError outside the main thread.
        """
        if threading.current_thread() is not threading.main_thread():
            raise DevstackError(
                f"{name or argv[0]}: spawn from the main thread, else it dies with this one"
            )
        uid, gid = user_ids or (None, None)
        options = {"parent": os.getpid(), "cpus": sorted(cpus or ()), "uid": uid, "gid": gid}
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - development tool, argv comes from our own code
                [sys.executable, "-I", "-S", str(_LAUNCH), json.dumps(options), *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                process_group=0,
            )
        return cls(
            child, name=name or Path(argv[0]).name, log_path=log_path, stop_signal=stop_signal
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, minus the signal's number if a signal ended it, None while it runs."""
        return self._child.poll()

    @property
    def running(self) -> bool:
        return self.returncode is None

    def log_tail(self) -> str:
        """The last lines of the log, at most 40 lines and 8 KiB."""
        with suppress(FileNotFoundError), self.log_path.open("rb") as log:
            log.seek(max(0, self.log_path.stat().st_size - LOG_TAIL_BYTES_MAX))
            lines = log.read().decode(errors="replace").splitlines()
            return "\n".join(lines[-LOG_TAIL_LINES_MAX:])
        return ""

    async def wait_ready(
        self, probe: Callable[[], Awaitable[object]], *, timeout_s: float = READY_TIMEOUT_S
    ) -> None:
        """Call `probe` until it returns without an exception.

        `probe` should speak the protocol; it is cancelled at the limit. Raises DiedAtStart or
        NotReadyInTime, with the probe's last refusal as cause.
        """
        deadline = time.monotonic() + timeout_s
        refusal: BaseException | None = None
        ended = asyncio.create_task(self.wait())
        try:
            while (left_s := deadline - time.monotonic()) > 0:
                refusal = await _attempt(probe, unless=ended, timeout_s=left_s)
                if ended.done():
                    sentence = f"{self.name} ended with code {ended.result()} before it answered"
                    raise self._failed(DiedAtStart, sentence) from refusal
                if refusal is None:
                    return
                await asyncio.wait({ended}, timeout=PROBE_PAUSE_S)
        finally:
            await _cancel(ended)
        sentence = f"{self.name} did not answer within {timeout_s:g} s ({refusal!r})"
        raise self._failed(NotReadyInTime, sentence) from refusal

    def _failed(self, kind: type[StartFailed], sentence: str) -> StartFailed:
        return kind(sentence, log_path=self.log_path, log_tail=self.log_tail())

    async def wait(self, *, timeout_s: float | None = None) -> int:
        """Wait for the end, give the exit code. Raises TimeoutError. May run in several tasks."""
        if (code := self.returncode) is not None:
            return code
        loop, gone, fd = asyncio.get_running_loop(), asyncio.Event(), os.pidfd_open(self.pid)
        loop.add_reader(fd, gone.set)
        try:
            async with asyncio.timeout(timeout_s):
                await gone.wait()
        finally:
            loop.remove_reader(fd)
            os.close(fd)
        return self._child.wait()

    async def terminate(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Ask (SIGTERM, or what `spawn` was told), kill after `timeout_s`. Harmless twice."""
        if self.running:
            self.resume()
            with _Tree(self.pid) as tree:
                self._child.send_signal(self._stop_signal)
                with suppress(TimeoutError):
                    await self.wait(timeout_s=timeout_s)
                self.kill()
                tree.send(signal.SIGKILL)  # children that it left behind
                tree.wait_gone(KILL_TIMEOUT_S, name=self.name)
        return self._child.wait(KILL_TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL the process and its descendants; return when they are gone. Harmless twice."""
        if not self.running:
            return
        with _Tree(self.pid) as tree:
            os.killpg(self.pid, signal.SIGKILL)
            tree.send(signal.SIGKILL)
            self._child.wait(KILL_TIMEOUT_S)
            tree.wait_gone(KILL_TIMEOUT_S, name=self.name)

    def pause(self) -> None:
        """SIGSTOP all of it: the process stays, and answers nobody once this returns.

        Raises StopFailed if a thread of it still runs after STOP_TIMEOUT_S.
        """
        with _Tree(self.pid) as tree:
            tree.send(signal.SIGSTOP)
            tree.wait_stopped(STOP_TIMEOUT_S, name=self.name)

    def resume(self) -> None:
        """SIGCONT all of it."""
        with _Tree(self.pid) as tree:
            tree.send(signal.SIGCONT)


async def _attempt(
    probe: Callable[[], Awaitable[object]], *, unless: "asyncio.Task[int]", timeout_s: float
) -> BaseException | None:
    """What the probe raised, or None; cut short when `unless` is done or the time is up."""
    attempt = asyncio.ensure_future(probe())
    try:
        await asyncio.wait({attempt, unless}, timeout=timeout_s, return_when="FIRST_COMPLETED")
    finally:
        await _cancel(attempt)
    return TimeoutError("still waiting") if attempt.cancelled() else attempt.exception()


async def _cancel(task: "asyncio.Future[Any]") -> None:
    """Cancel and wait until it is over; nothing for a finished one."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})


class _Tree:
    """Handles (pidfds, safe from reuse of numbers) on a process and its present descendants."""

    def __init__(self, root: int) -> None:
        self._handles: list[int] = []
        self._pids: list[int] = []
        queue = [root]
        while queue:
            pid = queue.pop()
            with suppress(ProcessLookupError):
                self._handles.append(os.pidfd_open(pid))
                self._pids.append(pid)
                queue.extend(_children(pid))

    def send(self, number: int) -> None:
        for handle in self._handles:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)

    def wait_stopped(self, timeout_s: float, *, name: str) -> None:
        """SIGSTOP is only sent when `send` returns: each thread runs on until it looks."""
        deadline = time.monotonic() + timeout_s
        while any(_runs(pid) for pid in self._pids):
            if time.monotonic() > deadline:
                raise StopFailed(f"{name}: a thread went on for {timeout_s:g} s after SIGSTOP")
            time.sleep(STATE_PAUSE_S)

    def wait_gone(self, timeout_s: float, *, name: str) -> None:
        deadline = time.monotonic() + timeout_s
        for handle in self._handles:
            left_s = max(0.0, deadline - time.monotonic())
            if not select.select([handle], [], [], left_s)[0]:
                raise StopFailed(f"{name}: a process outlived SIGKILL for {timeout_s:g} s")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            os.close(handle)


def _runs(pid: int) -> bool:
    """Has it a thread that is neither stopped nor gone? By proc(5), the state after the name."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                state = (task / "stat").read_text().rpartition(")")[2].split()[0]
                if state not in "TtZX":
                    return True
    return False


def _children(pid: int) -> list[int]:
    """Direct children, from the kernel's list per thread; empty when `pid` is gone."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found.extend(map(int, (task / "children").read_text().split()))
    return found
