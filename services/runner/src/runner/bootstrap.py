"""Puts the runner together. The only module that names adapters."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web
from catalog.events import SourceKind
from catalog.follow import CatalogFollower
from eventflows.runner.v1 import runner_pb2, runner_pb2_grpc
from kernel.backoff import delay_s
from kernel.errors import EventflowsError
from prometheus_client import REGISTRY, CollectorRegistry
from servicekit.clock import monotonic_s
from servicekit.identity import Identities, ServiceToken
from servicekit.logs import configure_logs
from servicekit.metrics import serve_metrics
from servicekit.rpc import RpcServer, RpcService, rpc_channel, rpc_server
from servicekit.settings import HostPort, SettingsError

from runner.adapters.adk_executor import AdkExecutor, AdkSettings
from runner.adapters.build_store import BuildStore
from runner.adapters.child_process import ChildLimits
from runner.adapters.endpoint_builder import EndpointBuilder
from runner.adapters.endpoint_executor import EndpointExecutor, endpoint_session
from runner.adapters.git_builder import BuildSettings, GitBuilder
from runner.adapters.kafka_completions import KafkaCompletions
from runner.adapters.run_metrics import RunMetrics
from runner.adapters.system_clock import SystemClock
from runner.application.background_runs import BackgroundRuns
from runner.application.build_algorithm import BuildAlgorithm
from runner.application.readiness import Readiness
from runner.application.run_algorithm import RunAlgorithm, Window
from runner.application.topic_upkeep import keep_topics
from runner.domain.repeat_window import RepeatWindow
from runner.domain.sessions import Sessions
from runner.entrypoints.http import HttpEntry
from runner.entrypoints.rpc import RunnerService
from runner.ports import Clock, Completions, Configuration
from runner.settings import RunnerSettings

SERVICE: Final = "runner"
FILE_BYTES_MAX: Final = 8 * 1024**3
"""Of one file that an algorithm writes."""
KEEP_ALIVE_S: Final = 75.0
KAFKA_RETRY_FIRST_S: Final = 0.5
KAFKA_RETRY_LONGEST_S: Final = 5.0
KAFKA_CHECK_S: Final = 1.0
HTTP_STOP_S: Final = 2.0
"""For answers that are being written: runs have ended by then."""
FIELD_BYTES_MAX: Final = 16 * 1024
"""Of one HTTP header: a record key of 4 kB in base64, and room."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where a started runner really listens."""

    http: HostPort
    rpc: HostPort


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerParts:
    """What the entrypoints and loops need."""

    runs: RunAlgorithm
    background: BackgroundRuns
    builds: BuildAlgorithm
    sessions: Sessions
    executor: AdkExecutor


async def serve(
    settings: RunnerSettings,
    stop: asyncio.Event,
    *,
    started: Callable[[Addresses], None] | None = None,
    collector: CollectorRegistry = REGISTRY,
) -> None:
    """Serve until `stop`; `started` hears when calls are answered. Raises SettingsError."""
    configure_logs(service=SERVICE, level=settings.log_level)
    identities = Identities.load(settings.identities_file)
    token = ServiceToken.load(settings.service_token_file)
    async with AsyncExitStack() as stack:
        stack.enter_context(_sole_owner(settings.data_dir))
        channel = await stack.enter_async_context(rpc_channel(settings.registry_address, token))
        follower = CatalogFollower(
            channel, clock=monotonic_s, snapshot_file=settings.catalog_snapshot_file
        )
        completions = KafkaCompletions(
            ",".join(str(address) for address in settings.kafka_bootstrap_servers),
            retention_days=settings.completions_retention_days,
        )
        stack.push_async_callback(completions.close)
        await stack.enter_async_context(serve_metrics(settings.metrics_listen, registry=collector))
        parts = await assemble(stack, settings, follower, completions, collector)
        readiness = Readiness(
            parts.runs,
            kafka_connected=lambda: completions.connected,
        )
        await stack.enter_async_context(_loops(follower, completions, parts))
        rpc = await stack.enter_async_context(_rpc(settings, identities, parts))
        http = await stack.enter_async_context(http_server(settings, identities, parts, readiness))
        stack.push_async_callback(parts.background.close)
        stack.push_async_callback(parts.runs.close, grace_s=settings.stop_grace_s)
        if started is not None:
            started(Addresses(http=http, rpc=rpc.address))
        _log.info("serving", extra={"http": str(http), "rpc": str(rpc.address)})
        await stop.wait()


async def assemble(
    stack: AsyncExitStack,
    settings: RunnerSettings,
    configuration: Configuration,
    completions: Completions,
    collector: CollectorRegistry,
) -> RunnerParts:
    """The application over its adapters; `stack` ends what has to be ended."""
    clock = SystemClock()
    builder, executor = _adk(settings, clock)
    stack.push_async_callback(builder.close)
    stack.push_async_callback(executor.close)
    session = await stack.enter_async_context(endpoint_session())
    sessions = Sessions(per_account_max=settings.sessions_per_account_max)
    window: Window = RepeatWindow(clock.monotonic_s)
    gauges: dict[str, tuple[str, Callable[[], float]]] = {
        "processes": ("Processes of ADK algorithms.", lambda: executor.processes),
        "sessions": ("Open sessions of all accounts.", lambda: sessions.total),
        "input_bytes": ("Input that open sessions hold.", lambda: sessions.input_bytes),
        "remembered_bytes": ("Bytes in the repeat window.", lambda: window.remembered_bytes),
        "catalog_staleness_seconds": ("Since the registry was heard.", configuration.staleness_s),
    }
    runs = RunAlgorithm(
        configuration=configuration,
        executors={SourceKind.GIT: executor, SourceKind.ENDPOINT: EndpointExecutor(session)},
        completions=completions,
        window=window,
        observer=RunMetrics(collector, gauges),
        clock=clock,
        stale_max_s=settings.catalog_stale_max_s,
    )
    builds = BuildAlgorithm(
        configuration=configuration,
        builders={SourceKind.GIT: builder, SourceKind.ENDPOINT: EndpointBuilder(clock)},
    )
    return RunnerParts(
        runs=runs,
        background=BackgroundRuns(runs),
        builds=builds,
        sessions=sessions,
        executor=executor,
    )


def _adk(settings: RunnerSettings, clock: Clock) -> tuple[GitBuilder, AdkExecutor]:
    homes = settings.data_dir / "homes"
    shutil.rmtree(homes, ignore_errors=True)  # of processes that died with the last runner
    limits = ChildLimits(
        data_bytes=settings.memory_per_process_bytes,
        cpu_s=settings.cpu_per_process_max_s,
        files=settings.files_per_process_max,
        file_bytes=FILE_BYTES_MAX,
    )
    build_settings = BuildSettings(
        data_dir=settings.data_dir,
        schemes=tuple(settings.source_schemes.split(",")),
        timeout_s=settings.build_timeout_s,
        load_timeout_s=settings.load_timeout_s,
        limits=limits,
    )
    adk_settings = AdkSettings(
        homes=homes,
        limits=limits,
        processes_per_version_max=settings.processes_per_version_max or os.cpu_count() or 1,
        processes_max=settings.processes_max,
        process_idle_s=settings.process_idle_s,
        load_timeout_s=settings.load_timeout_s,
    )
    # The two know each other: a build in use is not removed, a run may need a build.
    executor: AdkExecutor
    store = BuildStore(settings.data_dir, in_use=lambda: executor.builds_in_use())
    builder = GitBuilder(build_settings, store, clock)
    executor = AdkExecutor(adk_settings, builder.find)
    return builder, executor


@asynccontextmanager
async def _loops(
    follower: CatalogFollower, completions: KafkaCompletions, parts: RunnerParts
) -> AsyncIterator[None]:
    """The loops run inside. One that dies ends the context with its error."""
    async with asyncio.TaskGroup() as loops:
        tasks = [
            loops.create_task(follower.run(), name="catalog"),
            loops.create_task(parts.executor.keep(), name="processes"),
            loops.create_task(_keep_connected(completions), name="kafka"),
            loops.create_task(
                keep_topics(follower, follower.changes(), completions), name="topics"
            ),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _keep_connected(completions: KafkaCompletions) -> None:
    """So that readiness tells of a Kafka that is away before a run meets it."""
    attempt = 0
    while True:
        try:
            await completions.connect()
        except EventflowsError as error:
            attempt += 1
            _log.warning("no producer: %s", error.message)
            wait_s = delay_s(
                attempt,
                first_s=KAFKA_RETRY_FIRST_S,
                longest_s=KAFKA_RETRY_LONGEST_S,
                random=random.random,
            )
        else:
            attempt, wait_s = 0, KAFKA_CHECK_S
        await asyncio.sleep(wait_s)


def _rpc(settings: RunnerSettings, identities: Identities, parts: RunnerParts) -> RpcServer:
    return rpc_server(
        listen=settings.rpc_listen,
        identities=identities,
        services=[
            RpcService(
                runner_pb2.DESCRIPTOR.services_by_name["Runner"],
                runner_pb2_grpc.add_RunnerServicer_to_server,
                RunnerService(parts.builds),
            )
        ],
    )


@asynccontextmanager
async def http_server(
    settings: RunnerSettings, identities: Identities, parts: RunnerParts, readiness: Readiness
) -> AsyncIterator[HostPort]:
    entry = HttpEntry(
        identities=identities,
        sessions=parts.sessions,
        runs=parts.runs,
        background=parts.background,
        readiness=readiness,
    )
    server = web.AppRunner(
        entry.application(),
        access_log=None,
        keepalive_timeout=KEEP_ALIVE_S,
        max_field_size=FIELD_BYTES_MAX,
        shutdown_timeout=HTTP_STOP_S,
    )
    await server.setup()
    try:
        listen = settings.http_listen
        try:
            await web.TCPSite(server, listen.host, listen.port).start()
        except OSError as error:
            raise SettingsError(
                [f"{listen} cannot be listened on ({error.strerror}): set another one."]
            ) from error
        yield HostPort(listen.host, server.addresses[0][1])
    finally:
        await server.cleanup()


@contextmanager
def _sole_owner(data_dir: Path) -> Iterator[None]:
    """Two runners in one folder would remove each other's unfinished builds."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(data_dir / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError([f"{data_dir} cannot be used: {error.strerror}."]) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise SettingsError([f"{data_dir} is in use: give each runner a folder."]) from None
    try:
        yield
    finally:
        os.close(lock)
