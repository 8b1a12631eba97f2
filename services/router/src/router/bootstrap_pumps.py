"""The part of `bootstrap.py` that makes the pumps of flows, and what they share."""

from __future__ import annotations

import random
import ssl
from weakref import WeakValueDictionary

from catalog.follow import CatalogFollower
from servicekit.identity import ServiceToken
from servicekit.settings import SettingsError

from router.adapters.algorithm_target import AlgorithmTarget
from router.adapters.http_client import HttpPool
from router.adapters.kafka_dead_letters import KafkaDeadLetters
from router.adapters.kafka_producers import KafkaProducers
from router.adapters.kafka_source import KafkaSource
from router.adapters.kafka_target import KafkaTarget
from router.adapters.otel_tracing import OtelTracing, otlp_exporter
from router.adapters.system_clock import SystemClock
from router.application.budget import WorkerBudget
from router.application.connections import Connections
from router.application.flow_halts import FlowHalts
from router.application.flow_history import CatalogFlowHistory
from router.application.limits import PumpLimits
from router.application.openings import Openings
from router.application.pump import Pump
from router.application.redelivery import Redelivery
from router.application.run_durations import RunDurations
from router.application.served import Served
from router.application.shards import ShardOwnership, shard_of
from router.application.task_figures import TaskFigures
from router.domain.flow_spec import INTERNAL_CONNECTION, AlgorithmTargetSpec, FlowSpec, TargetSpec
from router.domain.kafka_connection import KafkaConnection
from router.ports import Positions, Target, Tracing
from router.settings import RouterSettings


class PumpFactory:
    """Makes the pump of a spec, with the credentials of this moment."""

    def __init__(
        self,
        *,
        connections: Connections,
        producers: KafkaProducers,
        runner: HttpPool,
        positions: Positions,
        token: ServiceToken,
        ownership: ShardOwnership,
        follower: CatalogFollower,
        durations: RunDurations,
        tracing: Tracing | None,
        halts: FlowHalts,
    ) -> None:
        self._connections = connections
        self._producers = producers
        self._runner = runner
        self._positions = positions
        self._token = token.authorization.removeprefix("Bearer ")
        self._ownership = ownership
        self._follower = follower
        self._clock = SystemClock()
        self._budget = WorkerBudget()
        self._openings = Openings()
        self._durations = durations
        self._served = WeakValueDictionary[tuple[str, TargetSpec], Served]()
        """For as long as a pump or a redrive has it."""
        self._tracing = tracing
        self._halts = halts

    async def __call__(self, spec: FlowSpec) -> Pump:
        """Raises NotFound, Unavailable, TimedOut while the connection cannot be resolved."""
        source = await self._connections.resolve(spec.source.connection_id)
        letters = await self._letter_connections(spec)
        target = await self._target(spec)  # the last that may fail: what is made uses a producer
        shard = shard_of(spec.flow_id, instance=spec.instance)
        return Pump(
            spec,
            source=KafkaSource(
                spec, connection=source, clock=self._clock, positions=self._positions
            ),
            target=target,
            dead_letters=self._dead_letters(spec, *letters),
            clock=self._clock,
            random=random.SystemRandom(),
            limits=PumpLimits(),
            history=CatalogFlowHistory(self._follower, flow_id=spec.flow_id),
            fence=lambda: shard in self._ownership.owned,
            budget=self._budget,
            openings=self._openings,
            durations=self._durations,
            served=self._served_of(spec),
            tracing=self._tracing,
            halts=self._halts,
        )

    async def redelivery(self, spec: FlowSpec, *, figures: TaskFigures) -> Redelivery:
        """What sends a flow's dead letters again. Raises as `__call__`."""
        letters = await self._letter_connections(spec)
        return Redelivery(
            spec,
            target=await self._target(spec),
            dead_letters=self._dead_letters(spec, *letters),
            clock=self._clock,
            random=random.SystemRandom(),
            budget=self._budget,
            figures=figures,
            durations=self._durations,
            served=self._served_of(spec),
        )

    def _served_of(self, spec: FlowSpec) -> Served:
        """One for a flow and its target: another version may be away while this one serves."""
        return self._served.setdefault((spec.flow_id, spec.target), Served())

    async def _letter_connections(
        self, spec: FlowSpec
    ) -> tuple[KafkaConnection | None, KafkaConnection]:
        """That of the flow's own dead letter topic if it has one, and ours."""
        resolve, own_id = self._connections.resolve, spec.dead_letter_connection_id
        own = None if own_id is None else await resolve(own_id)
        return own, await resolve(INTERNAL_CONNECTION)

    def _dead_letters(
        self, spec: FlowSpec, own: KafkaConnection | None, internal: KafkaConnection
    ) -> KafkaDeadLetters:
        return KafkaDeadLetters(spec, own=own, internal=internal, producers=self._producers)

    async def _target(self, spec: FlowSpec) -> Target:
        if isinstance(spec.target, AlgorithmTargetSpec):
            return AlgorithmTarget(
                spec,
                pool=self._runner,
                token=self._token,
                position=lambda: self._follower.catalog.position,
                now=self._clock.now,
            )
        connection = await self._connections.resolve(spec.target.connection_id)
        return KafkaTarget(spec, connection=connection, producers=self._producers)


def open_tracing(settings: RouterSettings, worker_id: str) -> OtelTracing | None:
    """Where spans go; None: nothing is traced. Whoever opens it closes it."""
    if not settings.otlp_endpoint:
        return None
    return OtelTracing(
        otlp_exporter(settings.otlp_endpoint),
        worker_id=worker_id,
        ratio=settings.otlp_sample_ratio,
        chance=random.random,
    )


def runner_tls(settings: RouterSettings) -> ssl.SSLContext | None:
    """Whom we trust to be the runner; None: whom the system trusts. Raises SettingsError."""
    if settings.runner_ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(settings.runner_ca_file))
    except OSError as error:  # what is no certificate is one too
        problem = (
            "EVENTFLOWS_ROUTER_RUNNER_CA_FILE cannot be read as certificates: name a PEM file."
        )
        raise SettingsError([problem]) from error
