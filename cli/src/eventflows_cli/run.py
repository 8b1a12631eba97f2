"""What each command is given, and how it ends: the options that all of them share.

A command is an async function of a `Run` and its own arguments; it gives its exit code. `command`
adds the shared options and runs it.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, ParamSpec

import typer
from kernel.errors import InvalidInput, StateForbids

from eventflows_cli.exit_codes import DONE, TERMINATED
from eventflows_cli.output import Format, Output, reader_left

if TYPE_CHECKING:
    from eventflows_cli.calls import Calls, RouterCalls
    from eventflows_cli.profile import Asked, Profile

P = ParamSpec("P")

PANEL: Final = "Options of every command"
ANSWERS_YES: Final = ("y", "yes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a command."""

    asked: Asked
    output: Output

    def profile(self) -> Profile:
        """Which registry, which key. Raises SettingsError."""
        from eventflows_cli.profile import resolve  # with pydantic behind it: not for --help

        return resolve(self.asked, os.environ)

    @asynccontextmanager
    async def registry(self) -> AsyncIterator[Calls]:
        """The registry of the profile. Raises SettingsError."""
        from eventflows_cli.calls import connected  # with gRPC behind it: not for --help

        async with connected(self.profile()) as calls:
            yield calls

    @asynccontextmanager
    async def router(self) -> AsyncIterator[RouterCalls]:
        """A worker of the profile's router. Raises SettingsError, also without an address."""
        from eventflows_cli.calls import connected_to_router  # with gRPC behind it
        from eventflows_cli.profile import router_address

        profile = self.profile()
        async with connected_to_router(profile, router_address(profile, os.environ)) as calls:
            yield calls

    async def confirm(self, question: str, *, yes: bool) -> None:
        """Return when whoever sits there agrees, or said --yes.

        Raises InvalidInput where nobody can be asked, StateForbids when the answer is no.
        """
        if yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise InvalidInput(f"{question} Nobody can be asked here: say --yes to do it")
        self.output.say(f"{question} [y/N]")
        if (await _typed_line()).strip().lower() not in ANSWERS_YES:
            raise StateForbids("nothing was done")


def command(
    app: typer.Typer, name: str, **settings: Any
) -> Callable[
    [Callable[Concatenate[Run, P], Awaitable[int]]],
    Callable[Concatenate[Run, P], Awaitable[int]],
]:
    """Makes an async function the command `name` of `app`, with the shared options added."""

    def register(
        function: Callable[Concatenate[Run, P], Awaitable[int]],
    ) -> Callable[Concatenate[Run, P], Awaitable[int]]:
        _, *own = inspect.signature(function, eval_str=True).parameters.values()
        shared = inspect.signature(_shared, eval_str=True).parameters

        def invoke(**given: Any) -> int:
            run = _shared(**{name: given.pop(name) for name in shared})
            try:
                return asyncio.run(_until_stopped(function(run, **given)))  # type: ignore[call-arg]
            except BrokenPipeError:  # typer would end with 1
                return reader_left()

        parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in (*own, *shared.values())
        ]
        invoke.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        invoke.__annotations__ = {each.name: each.annotation for each in parameters}
        invoke.__doc__ = function.__doc__
        app.command(name, **settings)(invoke)
        return function

    return register


def _shared(
    *,
    output: Annotated[
        Format, typer.Option("--output", "-o", help="What stdout gets.", rich_help_panel=PANEL)
    ] = Format.TABLE,
    color: Annotated[
        bool,
        typer.Option(
            "--color/--no-color",
            help="Color on terminals; also off by NO_COLOR.",
            rich_help_panel=PANEL,
        ),
    ] = True,
    profile: Annotated[
        str | None,
        typer.Option(help="Profile of the configuration file.", rich_help_panel=PANEL),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The registry.", rich_help_panel=PANEL),
    ] = None,
    router_address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="A worker of the router.", rich_help_panel=PANEL),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="File with the operator's service token.", rich_help_panel=PANEL),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Longest wait for an answer, or for the next part of a long one.",
            rich_help_panel=PANEL,
        ),
    ] = None,
) -> Run:
    from eventflows_cli.profile import Asked  # with pydantic behind it: not for --help

    return Run(
        asked=Asked(
            profile=profile,
            address=address,
            router_address=router_address,
            key_file=key_file,
            timeout_s=timeout,
        ),
        output=Output(output, color=color),
    )


async def _until_stopped(work: Awaitable[int]) -> int:
    """SIGTERM cancels the work, so that it can clean up; SIGINT does so by asyncio's own hands."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        return TERMINATED


async def _typed_line() -> str:
    """A line from the terminal; can be cancelled, which a blocking read cannot."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[str] = loop.create_future()

    def read() -> None:
        loop.remove_reader(sys.stdin.fileno())
        typed.set_result(sys.stdin.readline())

    loop.add_reader(sys.stdin.fileno(), read)
    try:
        return await typed
    finally:
        loop.remove_reader(sys.stdin.fileno())


__all__ = ["DONE", "Run", "command"]
