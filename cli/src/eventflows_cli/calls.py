"""Calls to the registry and the router, each with a time limit, and a sentence when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
from eventflows.registry.v1.registry_pb2_grpc import RegistryStub
from eventflows.router.v1.router_pb2_grpc import RouterStub
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
from servicekit.rpc import RECORD_ANSWER_BYTES_MAX, error_from_status, rpc_channel
from servicekit.settings import HostPort

from eventflows_cli.profile import Profile

if TYPE_CHECKING:
    from eventflows.registry.v1.registry_pb2_grpc import RegistryAsyncStub
    from eventflows.router.v1.router_pb2_grpc import RouterAsyncStub

CONNECT_TIMEOUT_S: Final = 3.0
SEND_TIMEOUT_S: Final = 24 * 3_600.0
"""Of a whole import; each record of it has the profile's limit."""

Requests = Callable[
    [Callable[[], Awaitable[Mapping[str, str | bytes]]]],
    AsyncIterator[Any],
]


class _Calling:
    """A channel to one `service`; the verbs call its RPCs."""

    def __init__(self, profile: Profile, *, service: str, address: HostPort, origin: str) -> None:
        self._profile = profile
        self._service = service
        self._address = address
        self._origin = origin

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
            f"the {self._service} at {self._address} did not answer within {limit_s:g} s: "
            "try again, or give it more time with --timeout"
        )

    def _failure(self, error: grpc.aio.AioRpcError) -> EventflowsError:
        """In the words of who sits at the terminal; refusals of the service stay as they are."""
        where = f"the {self._service} at {self._address}"
        trailing: Any = error.trailing_metadata() or ()
        ours = CODE_METADATA in dict(trailing)
        match error.code():
            case grpc.StatusCode.UNAUTHENTICATED if not ours:
                return Unauthenticated(
                    f"{where} does not know the key in "
                    f"{self._profile.key_file}: give the operator's service token of this cluster"
                )
            case grpc.StatusCode.PERMISSION_DENIED if not ours:
                return NotAllowed(
                    f"the key in {self._profile.key_file} may not do this at {self._address}: "
                    "give the operator's service token of this cluster"
                )
            case grpc.StatusCode.UNIMPLEMENTED:
                return StateForbids(f"{where} is of an older build and cannot do this: upgrade it")
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED if not ours:
                return Unavailable(
                    f"{where} cannot be reached: see that it runs and that the "
                    f"address is right ({self._origin})"
                )
            case grpc.StatusCode.DEADLINE_EXCEEDED if not ours:
                return self._silent(self._profile.timeout_s)
            case _:
                return error_from_status(error)


class Calls(_Calling):
    """A channel to one registry. `stub` names the RPCs, the verbs call them."""

    def __init__(self, stub: RegistryAsyncStub, profile: Profile) -> None:
        origin = profile.origins["address"]
        super().__init__(profile, service="registry", address=profile.address, origin=origin)
        self.stub = stub


class RouterCalls(_Calling):
    """A channel to one worker of the router, which answers for all of them."""

    def __init__(self, stub: RouterAsyncStub, profile: Profile, address: HostPort) -> None:
        origin = profile.origins["router_address"]
        super().__init__(profile, service="router", address=address, origin=origin)
        self.stub = stub


@asynccontextmanager
async def connected(profile: Profile) -> AsyncIterator[Calls]:
    """A channel to the registry for the time of one command.

    Raises SettingsError when there is no key.
    """
    async with _channel(profile, profile.address) as channel:
        yield Calls(RegistryStub(channel), profile)


@asynccontextmanager
async def connected_to_router(profile: Profile, address: HostPort) -> AsyncIterator[RouterCalls]:
    """The same to a worker of the router."""
    async with _channel(profile, address) as channel:
        yield RouterCalls(RouterStub(channel), profile, address)


@asynccontextmanager
async def _channel(profile: Profile, address: HostPort) -> AsyncIterator[grpc.aio.Channel]:
    token = ServiceToken.load(profile.key_file)
    async with rpc_channel(
        address,
        token,
        unary_timeout_s=profile.timeout_s,
        answer_bytes_max=RECORD_ANSWER_BYTES_MAX,
    ) as channel:
        # The first attempt of a channel is given up after 100 ms: too early for a service that is
        # busy or far away. One that is not there is told by the first call.
        with suppress(TimeoutError):
            async with asyncio.timeout(min(CONNECT_TIMEOUT_S, profile.timeout_s)):
                await channel.channel_ready()
        yield channel
