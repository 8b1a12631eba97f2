"""The Faust worker: process supervision, membership and sharding, timers, the health page.

The only file besides `__main__` that knows Faust. What Faust may do here, and what not, stands in
ADR 0001: one agent on one internal topic, concurrency 1, no `take`, its body cannot raise.

The agent makes this worker a member of the group; the partitions it is given are its shards. So
that membership is *confirmed* and not only assumed, the worker sends a tick to one of its own
partitions every `TICK_INTERVAL_S`; the agent takes it, and the commit of its offset is accepted by
the broker only from a living member of the present generation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import faust
from kernel.errors import EventflowsError
from mode import Service
from servicekit.settings import HostPort

from router.application.shards import CONTROL_TOPIC, SESSION_TIMEOUT_S, ShardOwnership

HEARTBEAT_S = 2.0
REBALANCE_TIMEOUT_S = 10.0
TICK_INTERVAL_S = 2.0
ANNOUNCE_INTERVAL_S = 2.0
FALLBACK_COMMIT_S = 60.0
"""The tick's timer commits; Faust's own commits would take the confirmation away from it."""
STOP_MAX_S = 15.0
HEALTH_PATH = "/health"

_log = logging.getLogger(__name__)


class Part(Protocol):
    """A piece of the router that runs for as long as the worker does."""

    async def run(self) -> None:
        """Run until cancelled, or until all is done. What it raises ends the worker."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """What the Faust app is made with."""

    worker_id: str
    group_id: str
    bootstrap_servers: tuple[HostPort, ...]
    web_listen: HostPort
    data_dir: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHooks:
    """What the Faust app calls.

    `announce` tells the other workers about us (every two seconds and after an assignment);
    `health` gives the health page: ready or not, and its JSON.
    """

    announce: Callable[[], Awaitable[None]]
    health: Callable[[], tuple[bool, Mapping[str, Any]]]


class PartService(Service):  # type: ignore[misc]  # mode shows mypy no types
    """A part as a mode service: supervised, and its crash is the worker's crash."""

    def __init__(self, name: str, part: Part, **options: Any) -> None:
        self._name = name
        self._part = part
        super().__init__(**options)

    @property
    def label(self) -> str:
        """How mode names it in its logs."""
        return self._name

    @Service.task  # type: ignore[untyped-decorator]
    async def _run(self) -> None:
        await self._part.run()


class RouterWorker(faust.Worker):  # type: ignore[misc]
    """A worker whose signals and logs belong to servicekit, not to mode.

    mode would open a debugger on SIGUSR2 and take over the root logger and stdout.
    """

    def install_signal_handlers(self) -> None:
        """`servicekit.lifecycle` has them."""

    def carp(self, msg: str) -> None:
        """Nothing is written besides the log."""

    def say(self, msg: str) -> None:
        """Nothing is written besides the log."""


def create_app(config: WorkerConfig, *, ownership: ShardOwnership, hooks: WorkerHooks) -> faust.App:
    """The app, not started. Nothing is read from or written to Kafka before its start."""
    app = faust.App(
        config.group_id,
        broker=[f"kafka://{server}" for server in config.bootstrap_servers],
        broker_client_id=config.worker_id,
        autodiscover=False,
        datadir=config.data_dir,
        store="memory://",
        key_serializer="raw",
        value_serializer="raw",
        topic_allow_declare=False,
        topic_disable_leader=True,
        reply_create_topic=False,
        broker_session_timeout=SESSION_TIMEOUT_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_rebalance_timeout=REBALANCE_TIMEOUT_S,
        broker_commit_interval=FALLBACK_COMMIT_S,
        consumer_auto_offset_reset="latest",
        stream_wait_empty=True,
        web_bind=config.web_listen.host,
        web_host=config.web_listen.host,
        web_port=config.web_listen.port,
        web_in_thread=False,
        web_stats_enabled=False,
        web_graph_enabled=False,
        web_router_enabled=False,
        web_tables_enabled=False,
        web_metrics_enabled=False,
        worker_redirect_stdouts=False,
    )
    control = app.topic(CONTROL_TOPIC, value_type=bytes, key_type=bytes)
    _add_membership(app, control, ownership, hooks)
    _add_ticks(app, control, config.worker_id, ownership)
    _add_health_page(app, hooks)
    return app


def _add_membership(
    app: faust.App, control: Any, ownership: ShardOwnership, hooks: WorkerHooks
) -> None:
    async def take_ticks(ticks: Any) -> None:
        async for _ in ticks:
            pass  # That it came back through the group is all there is to it.

    async def on_assigned(_app: faust.App, assigned: Any, **_: Any) -> None:
        ownership.assign(tp.partition for tp in assigned if tp.topic == CONTROL_TOPIC)
        _log.info("shards assigned", extra={"shards": len(ownership.owned)})

    async def announce() -> None:
        try:
            await hooks.announce()
        except EventflowsError as error:
            _log.warning("the other workers could not be told about us: %s", error)

    app.agent(control, concurrency=1, name="shards")(take_ticks)
    app.on_partitions_assigned.connect(on_assigned, weak=False)
    app.timer(ANNOUNCE_INTERVAL_S, name="announce")(announce)
    ownership.on_change(lambda: app.add_future(announce()) if app.started else None)


def _add_ticks(app: faust.App, control: Any, worker_id: str, ownership: ShardOwnership) -> None:
    pending: list[asyncio.Future[Any]] = []

    async def tick() -> None:
        asked_s = ownership.monotonic_s()
        if await app.commit({CONTROL_TOPIC}):
            ownership.confirm(at_s=asked_s)
        pending[:] = [sent for sent in pending if not sent.done()]
        if pending or not ownership.assigned:
            return
        # Also when membership is in doubt: without a tick it could never be confirmed again.
        partition = min(ownership.assigned)
        pending.append(
            await control.send(partition=partition, key=worker_id.encode(), value=b"tick")
        )

    app.timer(TICK_INTERVAL_S, name="ticks")(tick)


def _add_health_page(app: faust.App, hooks: WorkerHooks) -> None:
    async def health(web: Any, _request: Any) -> Any:
        ready, content = hooks.health()
        return web.json(dict(content), status=200 if ready else 503)

    app.page(HEALTH_PATH)(health)


async def run_worker(
    app: faust.App,
    *,
    parts: Mapping[str, Part],
    stop: asyncio.Event,
    drain: Callable[[], Awaitable[None]],
) -> None:
    """Run the parts (started in order) and the app until `stop`, then drain and leave the group.

    `drain` comes first: the flows are handed over before the shards are. Raises what made a part or
    Faust crash.
    """
    services = [PartService(name, part) for name, part in parts.items()]
    worker = RouterWorker(
        app,
        *services,
        override_logging=False,
        redirect_stdouts=False,
        daemon=True,
        quiet=True,
        loop=asyncio.get_running_loop(),
    )
    worker.spinner = None  # it writes control characters to stdout
    running = asyncio.create_task(worker.start(), name="faust worker")
    asked = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        asked.cancel()
        await drain()
        await _stop(worker)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    if worker.crash_reason is not None:
        raise worker.crash_reason


async def _stop(worker: RouterWorker) -> None:
    """Leave the group. A broker that is away would hold us for ever, so there is a limit."""
    try:
        async with asyncio.timeout(STOP_MAX_S):
            await worker.stop()
    except TimeoutError:
        _log.error("Faust did not stop in time; the group finds out by its session timeout")
