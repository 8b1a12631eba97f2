"""Puts a worker together: alone names adapters; one AsyncExitStack owns all lifetimes."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from catalog.follow import CatalogFollower
from eventflows.router.v1 import router_pb2
from eventflows.router.v1.router_pb2_grpc import add_RouterServicer_to_server
from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from servicekit.identity import Identities, ServiceToken
from servicekit.metrics import serve_metrics
from servicekit.rpc import RECORD_ANSWER_BYTES_MAX, RpcServer, RpcService, rpc_channel, rpc_server
from servicekit.settings import SettingsError

from router.adapters import kafka_probe
from router.adapters.algorithm_target import runner_pool
from router.adapters.internal_topics import ensure_internal_topics
from router.adapters.kafka_producers import KafkaProducers
from router.adapters.positions_topic import PositionsTopic
from router.adapters.registry_credentials import RegistryCredentials
from router.adapters.registry_pauses import RegistryPauses
from router.adapters.restart_file import RestartFile
from router.adapters.router_peers import RouterPeers
from router.adapters.system_clock import SystemClock
from router.adapters.worker_directory import WorkerDirectory
from router.application.connections import Connections
from router.application.flow_halts import FlowHalts
from router.application.flow_status import FlowStatusQuery
from router.application.health import HealthWatch
from router.application.plans import FlowPlans
from router.application.run_durations import RunDurations
from router.application.shards import ShardOwnership
from router.application.supervisor import Supervisor
from router.bootstrap_dead_letters import DeadLetterHalf, open_dead_letters
from router.bootstrap_pumps import PumpFactory, open_tracing, runner_tls
from router.domain.flow_spec import INTERNAL_CONNECTION
from router.domain.kafka_connection import KafkaConnection
from router.entrypoints.faust_app import Part, WorkerConfig, WorkerHooks
from router.entrypoints.metrics import WorkerMetrics, WorkerSnapshot
from router.entrypoints.rpc import RouterRpc
from router.settings import RouterSettings

READINESS_INTERVAL_S = 1.0


class _Readiness:
    """Lets gRPC's health say what the health page says, within `READINESS_INTERVAL_S`."""

    def __init__(self, is_ready: Callable[[], bool], server: RpcServer, clock: SystemClock) -> None:
        self._is_ready = is_ready
        self._server = server
        self._clock = clock

    async def run(self) -> None:
        said = False
        while True:
            ready = self._is_ready()
            if ready is not said:
                await self._server.set_serving(ready)
                said = ready
            await self._clock.sleep(READINESS_INTERVAL_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """A worker that is put together and not started. `parts` run for as long as it lives."""

    settings: RouterSettings
    config: WorkerConfig
    ownership: ShardOwnership
    supervisor: Supervisor
    directory: WorkerDirectory
    positions: PositionsTopic
    follower: CatalogFollower
    metrics: WorkerMetrics
    health_watch: HealthWatch
    run_durations: RunDurations
    rpc: RpcServer
    clock: SystemClock
    dead_letters: DeadLetterHalf
    halts: FlowHalts

    @property
    def parts(self) -> Mapping[str, Part]:
        """In the order of their start."""
        return {
            "catalog follower": self.follower,
            "worker directory": self.directory,
            "positions": self.positions,
            "supervisor": self.supervisor,
            "flow halts": self.halts,
            "health": self.health_watch,
            "readiness": _Readiness(lambda: self.health()[0], self.rpc, self.clock),
            **self.dead_letters.parts,
        }

    @property
    def hooks(self) -> WorkerHooks:
        """What Faust's timers and the health page call."""
        return WorkerHooks(announce=self.announce, health=self.health)

    async def prepare(self) -> None:
        """Make the internal topics; waits for Kafka as long as it takes."""
        await ensure_internal_topics(
            self.settings.kafka_servers,
            dead_letter_retention_s=self.settings.dead_letter_retention_s,
        )

    async def announce(self) -> None:
        """Tell the other workers and Prometheus how things stand. Raises Unavailable."""
        self.metrics.publish(self._snapshot())
        await self.directory.announce(self.ownership.owned)

    async def drain(self) -> None:
        """Hand over: end every flow and what is redriven, then tell the others. Harmless twice."""
        await asyncio.gather(self.supervisor.stop(), self.dead_letters.stop())
        self.ownership.release()
        await self.directory.leave()

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """Ready, and the health page's JSON. Ready: a confirmed member with a fresh catalog of
        whose flows no more than half are unhealthy."""
        staleness_s = self.follower.staleness_s()
        fresh = staleness_s <= self.settings.catalog_stale_max_s
        caught_up = self.follower.caught_up.is_set()
        ready = self.ownership.joined and caught_up and fresh and not self.health_watch.impaired
        ready = ready and self.positions.caught_up.is_set()
        return ready, {
            "ready": ready,
            "worker": self.config.worker_id,
            "member": self.ownership.joined,
            "shards": sorted(self.ownership.owned),
            "flows": self.supervisor.counts(),
            "unhealthy": self.health_watch.unhealthy,
            "catalog": {
                "caught_up": caught_up,
                "position": self.follower.catalog.position,
                "staleness_s": None if math.isinf(staleness_s) else round(staleness_s, 3),
            },
            "dead_letter_index": self.dead_letters.health(),
        }

    def _snapshot(self) -> WorkerSnapshot:
        return WorkerSnapshot(
            flows=self.supervisor.statuses(),
            flows_by_state=self.supervisor.counts(),
            owned_shards=len(self.ownership.owned),
            catalog_staleness_s=self.follower.staleness_s(),
            catalog_position=self.follower.catalog.position,
            run_durations=self.run_durations.snapshot(),
            dead_letters=self.dead_letters.status,
            dead_letter_tasks=self.dead_letters.totals,
        )


@asynccontextmanager
async def open_router(settings: RouterSettings) -> AsyncIterator[Router]:
    """A worker with everything that it holds open. Raises SettingsError for files and addresses."""
    worker_id = settings.worker_name()
    token = ServiceToken.load(settings.service_token_file)
    identities = Identities.load(settings.identities_file)
    clock = SystemClock()
    _make_data_dir(settings)
    ownership = ShardOwnership(monotonic_s=clock.monotonic_s)
    metrics, durations = WorkerMetrics(), RunDurations()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        await enter(serve_metrics(settings.metrics_listen, registry=_registry(metrics)))
        registry = await enter(rpc_channel(settings.registry_address, token))
        follower = CatalogFollower(
            registry, clock=clock.monotonic_s, snapshot_file=settings.catalog_snapshot_file
        )
        connections = Connections(
            feed=follower,
            credentials=RegistryCredentials(registry),
            internal=_internal(settings),
            probe=kafka_probe,
        )
        producers = KafkaProducers(client_id=worker_id)
        stack.push_async_callback(producers.close)
        positions = PositionsTopic(
            internal=_internal(settings), client_id=worker_id, producers=producers, clock=clock
        )
        plans = FlowPlans(
            follower, group_prefix=settings.group_prefix, is_complete=follower.caught_up.is_set
        )
        tracing = open_tracing(settings, worker_id)
        if tracing is not None:
            stack.push_async_callback(tracing.close)
        halts = FlowHalts(
            feed=follower,
            pauses=RegistryPauses(registry),
            clock=clock,
            random=random.SystemRandom(),
        )
        pumps = PumpFactory(
            connections=connections,
            producers=producers,
            positions=positions,
            runner=await enter(runner_pool(settings.runner_url, ssl_context=runner_tls(settings))),
            token=token,
            ownership=ownership,
            follower=follower,
            durations=durations,
            tracing=tracing,
            halts=halts,
        )
        supervisor = Supervisor(
            plans=plans,
            ownership=ownership,
            open_pump=pumps,
            clock=clock,
            random=random.SystemRandom(),
        )
        peers = RouterPeers(token)
        stack.push_async_callback(peers.close)
        # The directory needs the address that rpc_listen became, the servicer needs the directory.
        directory = WorkerDirectory(
            bootstrap_servers=settings.kafka_servers, worker_id=worker_id, clock=clock
        )
        flow_status = FlowStatusQuery(
            worker_id=worker_id, local=supervisor, known=plans, workers=directory, peers=peers
        )
        dead_letters = await enter(
            open_dead_letters(
                settings,
                internal=_internal(settings),
                connections=connections,
                follower=follower,
                plans=plans,
                registry=registry,
                producers=producers,
                workers=directory,
                peers=peers,
                open_redelivery=pumps.redelivery,
                ownership=ownership,
                worker_id=worker_id,
                clock=clock,
            )
        )
        rpc = await enter(_rpc_server(settings, identities, connections, flow_status, dead_letters))
        directory.address = settings.rpc_address(rpc.address)
        stack.push_async_callback(directory.leave)
        yield Router(
            settings=settings,
            config=WorkerConfig(
                worker_id=worker_id,
                group_id=f"{settings.group_prefix}-router",
                bootstrap_servers=settings.kafka_bootstrap_servers,
                web_listen=settings.web_listen,
                data_dir=settings.data_dir,
            ),
            ownership=ownership,
            supervisor=supervisor,
            directory=directory,
            positions=positions,
            follower=follower,
            metrics=metrics,
            health_watch=HealthWatch(
                supervisor, clock=clock, memory=RestartFile(settings.data_dir)
            ),
            run_durations=durations,
            rpc=rpc,
            clock=clock,
            dead_letters=dead_letters,
            halts=halts,
        )


def _make_data_dir(settings: RouterSettings) -> None:
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = (
            f"EVENTFLOWS_ROUTER_DATA_DIR cannot be made ({error.strerror}): name another folder."
        )
        raise SettingsError([problem]) from error


def _rpc_server(
    settings: RouterSettings,
    identities: Identities,
    connections: Connections,
    flow_status: FlowStatusQuery,
    dead_letters: DeadLetterHalf,
) -> RpcServer:
    service = RpcService(
        router_pb2.DESCRIPTOR.services_by_name["Router"],
        add_RouterServicer_to_server,
        RouterRpc(
            connections=connections,
            flow_status=flow_status,
            dead_letters=dead_letters.desk,
            dead_letter_tasks=dead_letters.tasks,
        ),
    )
    return rpc_server(
        listen=settings.rpc_listen,
        identities=identities,
        services=[service],
        serving=False,
        answer_bytes_max=RECORD_ANSWER_BYTES_MAX,
    )


def _internal(settings: RouterSettings) -> KafkaConnection:
    return KafkaConnection(
        connection_id=INTERNAL_CONNECTION,
        bootstrap_servers=tuple(str(server) for server in settings.kafka_bootstrap_servers),
    )


def _registry(metrics: WorkerMetrics) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
