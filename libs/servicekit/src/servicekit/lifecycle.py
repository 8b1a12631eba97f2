"""From `__main__` to exit code: one event loop, a clean stop on SIGTERM, no second chance.

    def main() -> None:
        sys.exit(run_service(serve, service="registry"))

The price of the fast loop: uvloop, so Linux and macOS only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Final

import uvloop

from servicekit.logs import configure_logs, log_what_nobody_catches, redact
from servicekit.settings import SettingsError

EXIT_STOPPED: Final = 0
EXIT_FAILED: Final = 70
"""EX_SOFTWARE of sysexits.h: an error that nobody expected; the log has it."""
EXIT_CONFIG: Final = 78
"""EX_CONFIG of sysexits.h: the settings are wrong, a restart does not help."""
EXIT_SIGNAL_BASE: Final = 128
ENDING_MAX_S: Final = 3.0
"""For tasks that are left when `main` has returned: it closed everything already."""

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_log = logging.getLogger(__name__)


def run_service(
    main: Callable[[asyncio.Event], Awaitable[None]], *, service: str = "eventflows"
) -> int:
    """Runs `main(stop)` on uvloop until it returns, and gives the exit code of the process.

    SIGTERM and SIGINT set `stop`; `main` then closes everything and returns: 0. A second signal
    ends the process at once with 128 + its number. A SettingsError is printed to stderr, one line
    per problem: 78. Any other error, and a return that nobody asked for, is logged: 70.

    Logs are JSON lines from the start (level info, name `service`); `main` calls `configure_logs`
    again once it knows its settings. Tasks that `main` leaves behind are cancelled, and have
    `ENDING_MAX_S` to end.
    """
    configure_logs(service=service)
    log_what_nobody_catches()
    runner, code = asyncio.Runner(loop_factory=uvloop.new_event_loop), EXIT_FAILED
    try:
        code = _run(runner, main, service)
    finally:
        _close(runner, code)
    return code


def _run(
    runner: asyncio.Runner, main: Callable[[asyncio.Event], Awaitable[None]], service: str
) -> int:
    try:
        was_asked = runner.run(_run_until_stopped(main))
    except Exception as error:  # noqa: BLE001  logged, and told by the exit code
        problems = _settings_problems(error)
        for problem in problems:
            print(f"{service}: {redact(problem)}", file=sys.stderr, flush=True)
        if problems:
            return EXIT_CONFIG
        _log.exception("the service failed")
        return EXIT_FAILED
    if not was_asked:
        _log.error("the service ended without being asked to")
        return EXIT_FAILED
    return EXIT_STOPPED


def _close(runner: asyncio.Runner, code: int) -> None:
    """Close the loop. A task that a library does not let end must not keep the process: after
    `ENDING_MAX_S` it ends with `code` all the same."""

    def end() -> None:
        _log.error("tasks do not end although they were cancelled: ending without them")
        os._exit(code)

    overdue = threading.Timer(ENDING_MAX_S, end)
    overdue.daemon = True
    overdue.start()
    try:
        runner.close()
    finally:
        overdue.cancel()


async def _run_until_stopped(main: Callable[[asyncio.Event], Awaitable[None]]) -> bool:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            _log.error("second signal: ending without cleaning up", extra={"signal": number.name})
            os._exit(EXIT_SIGNAL_BASE + number)
        _log.info("stopping", extra={"signal": number.name})
        stop.set()

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        await main(stop)
    finally:
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)
    return stop.is_set()


def _settings_problems(error: Exception) -> list[str]:
    """What is wrong with the settings, when that and nothing else ended the service."""
    if isinstance(error, SettingsError):
        return list(error.problems)
    if isinstance(error, ExceptionGroup):  # of a TaskGroup
        wrong, other = error.split(SettingsError)
        if wrong is not None and other is None:
            return [problem for inner in wrong.exceptions for problem in _settings_problems(inner)]
    return []
