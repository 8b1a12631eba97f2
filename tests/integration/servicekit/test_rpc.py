"""A real server and a real channel: errors, silence, deadlines, context, health, stopping."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from eventflows.registry.v1 import registry_pb2, registry_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from kernel.errors import (
    EventflowsError,
    InvalidInput,
    NotAllowed,
    Overloaded,
    TimedOut,
    Unavailable,
)
from servicekit import rpc
from servicekit.identity import Identities, Role, ServiceToken, create_identities
from servicekit.logs import bind_trace, current_trace, hide
from servicekit.rpc import (
    RECONNECT_FIRST_MS,
    RpcServer,
    RpcService,
    current_caller,
    error_from_status,
    raise_from_status,
    rpc_channel,
    rpc_server,
)
from servicekit.settings import HostPort, SettingsError
from servicekit.trace import Traceparent

REGISTRY = registry_pb2.DESCRIPTOR.services_by_name["Registry"]
LOOPBACK = HostPort("127.0.0.1", 0)
WAIT_S = 10.0
TRACE = Traceparent(trace_id="4bf92f3577b34da6a3ce929d0e0e4736", span_id="00f067aa0ba902b7")


class Servicer(registry_pb2_grpc.RegistryServicer):
    """GetHead does what the test says; Watch sends one batch, then does what the test says."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.hold = asyncio.Event()
        self.hold.set()
        self.entered = asyncio.Event()
        self.watch_closed = asyncio.Event()
        self.seen: list[tuple[Role | None, Traceparent | None]] = []

    async def GetHead(self, request: Any, context: Any) -> registry_pb2.Head:  # noqa: N802
        self.seen.append((current_caller(), current_trace()))
        self.entered.set()
        await self.hold.wait()
        if self.error is not None:
            raise self.error
        return registry_pb2.Head(position=7)

    async def Watch(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[registry_pb2.WatchBatch]:
        try:
            yield registry_pb2.WatchBatch(to_position=1)
            await self.hold.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.watch_closed.set()


DISTANCE_S = RECONNECT_FIRST_MS * 4 / 1_000
"""How long the first byte takes to a distant server: longer than the first pause."""


class Rig:
    """One server, and channels to it by role."""

    def __init__(self, directory: Path) -> None:
        self.files = create_identities(directory)
        self.identities = Identities.load(self.files.identities)
        self.servicer = Servicer()  # type: ignore[abstract]  # the rest is not served

    def token(self, role: Role) -> ServiceToken:
        return ServiceToken.load(self.files.tokens[role])

    def server(self, **more: Any) -> RpcServer:
        options: dict[str, Any] = {"identities": self.identities, "stop_grace_s": 0.0, **more}
        service = RpcService(
            REGISTRY, registry_pb2_grpc.add_RegistryServicer_to_server, self.servicer
        )
        return rpc_server(listen=LOOPBACK, services=[service], **options)

    @asynccontextmanager
    async def stub(self, role: Role = "gateway", **more: Any) -> AsyncIterator[Any]:
        async with self.server(**more) as server:
            async with rpc_channel(server.address, self.token(role)) as channel:
                yield registry_pb2_grpc.RegistryStub(channel)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def head(stub: Any, **more: Any) -> Any:
    """GetHead, with what went wrong as an error of the kernel."""
    try:
        return await stub.GetHead(registry_pb2.GetHeadRequest(), **more)
    except grpc.aio.AioRpcError as error:
        raise_from_status(error)


async def test_a_call_arrives_with_its_role_and_its_trace(rig: Rig) -> None:
    async def traced(stub: Any) -> Any:
        bind_trace(TRACE)
        return await head(stub)

    async with rig.stub("runner") as stub:
        assert (await asyncio.create_task(traced(stub))).position == 7
    ((role, trace),) = rig.servicer.seen
    assert role == "runner"
    assert trace is not None
    assert trace.trace_id == TRACE.trace_id
    assert trace.span_id != TRACE.span_id


async def test_calls_do_not_share_a_trace_unless_they_bring_one(rig: Rig) -> None:
    async with rig.stub() as stub:
        await head(stub)
        await head(stub)
    first, second = (trace for _, trace in rig.servicer.seen)
    assert first is not None
    assert second is not None
    assert first.trace_id != second.trace_id


async def test_an_error_of_the_kernel_is_raised_again_on_the_other_side(rig: Rig) -> None:
    rig.servicer.error = InvalidInput("Send a größere position.", code=1002)
    async with rig.stub() as stub:
        with pytest.raises(InvalidInput, match="größere") as caught:
            await head(stub)
    assert caught.value.code == 1002


async def test_not_allowed_by_the_application_is_not_taken_for_the_identity_check(rig: Rig) -> None:
    rig.servicer.error = NotAllowed("Only the owner may do this.")
    async with rig.stub() as stub:
        with pytest.raises(NotAllowed, match="Only the owner"):
            await head(stub)


async def test_a_long_message_is_cut_and_a_secret_in_it_hidden(rig: Rig) -> None:
    hide("hunter2-hunter2")
    rig.servicer.error = Overloaded("hunter2-hunter2 " + "x" * 100_000, retry_after_s=0.25)
    async with rig.stub() as stub:
        with pytest.raises(Overloaded) as caught:
            await head(stub)
    assert caught.value.message.startswith("[hidden] xxx")
    assert len(caught.value.message) == 2_000
    assert caught.value.retry_after_s == 0.25


async def test_an_unexpected_error_leaves_an_id_and_its_traceback_stays_in_the_log(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.servicer.error = RuntimeError("row 17 of table secrets")
    async with rig.stub() as stub:
        with caplog.at_level(logging.ERROR), pytest.raises(EventflowsError) as caught:
            await head(stub)
    (record,) = [entry for entry in caplog.records if entry.name.startswith("servicekit")]
    assert type(caught.value) is EventflowsError
    assert "row 17" not in caught.value.message
    assert vars(record)["fault_id"] in caught.value.message
    assert "row 17" in caplog.text


async def test_an_error_after_the_first_message_of_a_stream_is_told_too(rig: Rig) -> None:
    rig.servicer.error = Unavailable("The log cannot be read; try again.")
    async with rig.stub() as stub:
        call = stub.Watch(registry_pb2.WatchRequest())
        assert (await call.read()).to_position == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    error = error_from_status(caught.value)
    assert type(error) is Unavailable
    assert "log cannot be read" in error.message


async def test_a_client_that_leaves_closes_the_stream_behind_it(rig: Rig) -> None:
    rig.servicer.hold.clear()
    async with rig.stub() as stub:
        call = stub.Watch(registry_pb2.WatchRequest())
        await call.read()
        call.cancel()
        await asyncio.wait_for(rig.servicer.watch_closed.wait(), WAIT_S)


async def test_a_method_that_is_not_written_yet_says_so(rig: Rig) -> None:
    async with rig.stub() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Diff(registry_pb2.DiffRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_call_without_a_deadline_gets_one(rig: Rig) -> None:
    rig.servicer.hold.clear()
    async with rig.server() as server:
        token = rig.token("gateway")
        async with rpc_channel(server.address, token, unary_timeout_s=0.2) as channel:
            with pytest.raises(TimedOut):
                await head(registry_pb2_grpc.RegistryStub(channel))


async def test_a_callers_own_deadline_stands(rig: Rig) -> None:
    rig.servicer.hold.clear()
    async with rig.stub() as stub:
        with pytest.raises(TimedOut):
            await asyncio.wait_for(head(stub, timeout=0.2), WAIT_S)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with rpc_channel("127.0.0.1:1", None) as channel:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await head(registry_pb2_grpc.RegistryStub(channel))


async def test_a_distant_server_is_not_given_up_after_the_first_pause(rig: Rig) -> None:
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(65_536):
            writer.write(part)
            await writer.drain()
        writer.close()

    async with rig.server() as server:

        async def distant(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(DISTANCE_S)
            theirs = await asyncio.open_connection(server.address.host, server.address.port)
            async with asyncio.TaskGroup() as both:
                both.create_task(pump(reader, theirs[1]))
                both.create_task(pump(theirs[0], writer))

        async with await asyncio.start_server(distant, "127.0.0.1", 0) as far:
            address = HostPort("127.0.0.1", far.sockets[0].getsockname()[1])
            async with rpc_channel(address, rig.token("gateway")) as channel:
                answer = await head(registry_pb2_grpc.RegistryStub(channel))
    assert answer.position == 7


async def test_calls_above_the_limit_are_overload(rig: Rig) -> None:
    rig.servicer.hold.clear()
    async with rig.stub(calls_at_once_max=1) as stub:
        first = asyncio.create_task(head(stub))
        await asyncio.wait_for(rig.servicer.entered.wait(), WAIT_S)
        with pytest.raises(Overloaded):
            await head(stub)
        rig.servicer.hold.set()
        assert (await first).position == 7


@pytest.mark.parametrize("token", [None, "Bearer wrong-wrong-wrong-wrong-wrong-wrong"])
@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_a_silent_client_of_any_kind_of_call_is_denied_at_once(
    rig: Rig, kind: str, token: str | None
) -> None:
    async def silence() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    metadata = () if token is None else (("authorization", token),)
    async with rig.server() as server, grpc.aio.insecure_channel(str(server.address)) as channel:
        start = getattr(channel, kind)("/eventflows.registry.v1.Registry/Watch")
        call = start(silence() if kind.startswith("stream") else b"", metadata=metadata)
        assert await asyncio.wait_for(call.code(), WAIT_S) is grpc.StatusCode.UNAUTHENTICATED


async def test_two_authorizations_are_none(rig: Rig) -> None:
    value = rig.token("gateway").authorization
    async with rig.server() as server, grpc.aio.insecure_channel(str(server.address)) as channel:
        stub: Any = registry_pb2_grpc.RegistryStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetHead(
                registry_pb2.GetHeadRequest(),
                metadata=(("authorization", value), ("authorization", value)),
            )
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_an_error_that_an_interceptor_raises_is_told(rig: Rig) -> None:
    class Refusing(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
        async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
            raise NotAllowed("Ask an admin.")

    async with rig.stub(identities=None, interceptors=[Refusing()]) as stub:
        with pytest.raises(NotAllowed, match="Ask an admin"):
            await head(stub)
        call = stub.Watch(registry_pb2.WatchRequest())
        assert await asyncio.wait_for(call.code(), WAIT_S) is grpc.StatusCode.PERMISSION_DENIED


async def health(channel: Any, service: str = "") -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=WAIT_S)
    status: int = answer.status
    return status


async def test_health_is_for_everybody_and_says_when_we_serve(rig: Rig) -> None:
    serving = health_pb2.HealthCheckResponse.SERVING
    not_yet = health_pb2.HealthCheckResponse.NOT_SERVING
    async with rig.server(serving=False) as server:
        async with grpc.aio.insecure_channel(str(server.address)) as channel:
            assert await health(channel) == not_yet
            assert await health(channel, REGISTRY.full_name) == not_yet
            await server.set_serving(True)
            assert await health(channel) == serving
            assert await health(channel, REGISTRY.full_name) == serving


@pytest.mark.parametrize(
    ("role", "expected"),
    [("operator", grpc.StatusCode.OK), ("gateway", grpc.StatusCode.PERMISSION_DENIED)],
)
async def test_reflection_is_for_operators(rig: Rig, role: Role, expected: grpc.StatusCode) -> None:
    async with rig.server() as server, rpc_channel(server.address, rig.token(role)) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
        call = stub.ServerReflectionInfo(iter(asked))
        names: list[str] = []
        with suppress(grpc.aio.AioRpcError):  # its code is asked for below
            async for answer in call:
                names += [service.name for service in answer.list_services_response.service]
        assert await call.code() is expected
        assert (REGISTRY.full_name in names) == (expected is grpc.StatusCode.OK)


async def test_a_second_server_cannot_share_the_port(rig: Rig) -> None:
    async with rig.server() as server:
        other = rpc_server(
            listen=server.address,
            identities=rig.identities,
            services=[],
        )
        with pytest.raises(SettingsError, match=str(server.address)):
            await other.start()
        await other.stop()


async def test_a_stop_lets_running_calls_end_within_the_grace(rig: Rig) -> None:
    rig.servicer.hold.clear()
    server = rig.server(stop_grace_s=WAIT_S)
    await server.start()
    async with rpc_channel(server.address, rig.token("gateway")) as channel:
        call = asyncio.create_task(head(registry_pb2_grpc.RegistryStub(channel)))
        await asyncio.wait_for(rig.servicer.entered.wait(), WAIT_S)
        health_stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = health_stub.Watch(health_pb2.HealthCheckRequest(), timeout=WAIT_S)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(server.stop())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        async with rpc_channel(server.address, rig.token("gateway")) as late:
            with pytest.raises(Unavailable):
                await head(registry_pb2_grpc.RegistryStub(late))
        rig.servicer.hold.set()
        assert (await call).position == 7
        await asyncio.wait_for(stopping, WAIT_S)


async def test_a_stop_cuts_off_what_outlasts_the_grace(rig: Rig) -> None:
    rig.servicer.hold.clear()
    server = rig.server(stop_grace_s=0.05)
    await server.start()
    async with rpc_channel(server.address, rig.token("gateway")) as channel:
        call = asyncio.create_task(head(registry_pb2_grpc.RegistryStub(channel)))
        await asyncio.wait_for(rig.servicer.entered.wait(), WAIT_S)
        await asyncio.wait_for(server.stop(), WAIT_S)
        with pytest.raises(Unavailable):
            await call


async def test_stopping_may_come_early_and_twice(rig: Rig) -> None:
    server = rig.server()
    await server.stop()
    started = rig.server()
    await started.start()
    await started.stop()
    await started.stop()


def test_a_server_that_would_check_nobody_is_not_made() -> None:
    with pytest.raises(ValueError, match="checks callers"):
        rpc_server(listen=LOOPBACK, identities=None, services=[])


def test_the_address_is_unknown_before_the_start(rig: Rig) -> None:
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = rig.server().address


def test_a_service_without_rows_in_the_table_is_not_served(rig: Rig) -> None:
    unlisted = health_pb2.DESCRIPTOR.services_by_name["Health"]
    with pytest.raises(ValueError, match="no row"):
        rpc_server(
            listen=LOOPBACK,
            identities=rig.identities,
            services=[RpcService(unlisted, health_pb2_grpc.add_HealthServicer_to_server, None)],
        )


def test_every_option_of_a_channel_is_one_that_grpc_knows() -> None:
    """A name that it does not know is ignored in silence: quiet calls were cut off after 80 s."""
    spec = find_spec("grpc._cython.cygrpc")
    assert spec is not None
    assert spec.origin is not None
    core = Path(spec.origin).read_bytes()
    for name, _ in (*rpc._SERVER_OPTIONS, *rpc._CHANNEL_OPTIONS):
        assert name.encode() + b"\0" in core, name
