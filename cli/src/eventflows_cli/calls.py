"""Calls to the registry, each with an end: a time limit, and one sentence when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
from eventflows.registry.v1.registry_pb2_grpc import RegistryStub
from kernel.errors import (
    EventflowsError,
    NotAllowed,
    StateForbids,
    TimedOut,
    Unauthenticated,
    Unavailable,
)
from servicekit.failures import CODE_METADATA
from servicekit.identity import ServiceToken
from servicekit.rpc import error_from_status, rpc_channel

from eventflows_cli.profile import Profile

if TYPE_CHECKING:
    from eventflows.registry.v1.registry_pb2_grpc import RegistryAsyncStub

CONNECT_TIMEOUT_S: Final = 3.0
SEND_TIMEOUT_S: Final = 24 * 3_600.0
"""Of a whole import; each record of it has the profile's limit."""

Requests = Callable[
    [Callable[[], Awaitable[Mapping[str, str | bytes]]]],
    AsyncIterator[Any],
]


class Calls:
    """A channel to one registry. `stub` names the RPCs, the verbs call them."""

    def __init__(self, stub: RegistryAsyncStub, profile: Profile) -> None:
        self.stub = stub
        self._profile = profile

    async def ask(self, method: Callable[..., Any], request: Any) -> Any:
        """One answer. Raises kernel errors; TimedOut after the profile's limit."""
        try:
            return await method(request, timeout=self._profile.timeout_s)
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error

    async def stream(
        self, method: Callable[..., Any], request: Any, *, silence_max_s: float | None = None
    ) -> AsyncGenerator[Any, None]:
        """Answers until the other side ends. Raises kernel errors; TimedOut when none comes for
        `silence_max_s` (default: the profile's limit)."""
        limit_s = self._profile.timeout_s if silence_max_s is None else silence_max_s
        call = method(request)
        try:
            answers = aiter(call)
            while True:
                async with asyncio.timeout(limit_s):
                    answer = await anext(answers, None)
                if answer is None:
                    return
                yield answer
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error
        except TimeoutError as error:
            raise self._silent(limit_s) from error
        finally:
            call.cancel()

    async def send(self, method: Callable[..., Any], requests: Requests) -> Any:
        """Many requests, one answer. Raises kernel errors, and whatever `requests` raises.

        `requests` is given a function that waits for the metadata which the other side begins with.
        """
        call = method(timeout=SEND_TIMEOUT_S)

        async def metadata() -> Mapping[str, str | bytes]:
            async with asyncio.timeout(self._profile.timeout_s):
                given = dict(await call.initial_metadata())
            if call.done():
                await call  # refused before it began: raises why
            return given

        try:
            async for request in requests(metadata):
                async with asyncio.timeout(self._profile.timeout_s):
                    await call.write(request)
            await call.done_writing()
            return await call
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error
        except asyncio.InvalidStateError:  # the other side ended the call while we were writing
            return await self._answer(call)
        except TimeoutError as error:
            raise self._silent(self._profile.timeout_s) from error
        finally:
            call.cancel()

    async def _answer(self, call: Any) -> Any:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from error

    def _silent(self, limit_s: float) -> TimedOut:
        return TimedOut(
            f"the registry at {self._profile.address} did not answer within {limit_s:g} s: "
            "try again, or give it more time with --timeout"
        )

    def _failure(self, error: grpc.aio.AioRpcError) -> EventflowsError:
        """In the words of who sits at the terminal; refusals of the registry stay as they are."""
        address = self._profile.address
        trailing: Any = error.trailing_metadata() or ()
        ours = CODE_METADATA in dict(trailing)
        match error.code():
            case grpc.StatusCode.UNAUTHENTICATED if not ours:
                return Unauthenticated(
                    f"the registry at {address} does not know the key in "
                    f"{self._profile.key_file}: give the operator's service token of this cluster"
                )
            case grpc.StatusCode.PERMISSION_DENIED if not ours:
                return NotAllowed(
                    f"the key in {self._profile.key_file} may not do this at {address}: "
                    "give the operator's service token of this cluster"
                )
            case grpc.StatusCode.UNIMPLEMENTED:
                return StateForbids(
                    f"the registry at {address} is of an older build and cannot do this: upgrade it"
                )
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED if not ours:
                return Unavailable(
                    f"the registry at {address} cannot be reached: see that it runs and that the "
                    f"address is right ({self._profile.origins['address']})"
                )
            case grpc.StatusCode.DEADLINE_EXCEEDED if not ours:
                return self._silent(self._profile.timeout_s)
            case _:
                return error_from_status(error)


@asynccontextmanager
async def connected(profile: Profile) -> AsyncIterator[Calls]:
    """A channel for the time of one command. Raises SettingsError when there is no key."""
    token = ServiceToken.load(profile.key_file)
    async with rpc_channel(profile.address, token, unary_timeout_s=profile.timeout_s) as channel:
        # The first attempt of a channel is given up after 100 ms: too early for a registry that is
        # busy or far away. One that is not there is told by the first call.
        with suppress(TimeoutError):
            async with asyncio.timeout(min(CONNECT_TIMEOUT_S, profile.timeout_s)):
                await channel.channel_ready()
        yield Calls(RegistryStub(channel), profile)
