"""The settings of a flow as its owner asks for them: what may be asked, and the command for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from catalog.catalog import Catalog
from catalog.codec import fill
from catalog.events import ApiType, BrokerKind, DeliverySettings, FlowEnabled
from catalog.records import Algorithm, Flow
from eventflows.registry.v1 import registry_pb2
from kernel.errors import InvalidInput, NotAllowed, NotFound

from gateway.application.versions import CODE_VERSION_NOT_FOUND
from gateway.domain import fields

LATEST: Final = "latest"
"""The word for the version that was published last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSettings:
    """What an owner asks of a flow. Empty version: the newest published one. 0: the default."""

    enabled: bool
    algorithm_version: str = ""
    dead_letter_topic: str = ""
    concurrency_max: int = 0
    allow_cycle: bool = False
    timeout_s: int = 0
    delivery: DeliverySettings = field(default_factory=DeliverySettings)


def check(catalog: Catalog, algorithm: Algorithm, flow: Flow, asked: FlowSettings) -> None:
    """Raises NotFound (1014), NotAllowed, InvalidInput for settings that the flow may not have."""
    check_version(algorithm, asked.algorithm_version)
    if asked.dead_letter_topic:
        _check_dead_letter_topic(catalog, flow, asked.dead_letter_topic)


def check_version(algorithm: Algorithm, version: str) -> None:
    """Raises NotFound (1014) for a version that is not published; empty is any."""
    if version and version not in {one.version for one in algorithm.versions}:
        raise NotFound(
            f"algorithm_version: {algorithm.full_name} has no such published version, "
            "GET …/versions lists them",
            code=CODE_VERSION_NOT_FOUND,
        )


def _check_dead_letter_topic(catalog: Catalog, flow: Flow, topic: str) -> None:
    fields.topic(topic, field="dead_letter_topic")
    channel = flow.channel
    if channel is None or channel.broker is not BrokerKind.KAFKA:
        raise InvalidInput("dead_letter_topic is for flows on Kafka: leave it out")
    if flow.api_type is not ApiType.SUBSCRIBER:
        raise InvalidInput("dead_letter_topic is for subscriber flows: leave it out")
    for api_type in (ApiType.PUBLISHER, ApiType.DEAD_LETTER):
        if catalog.is_granted(
            connection_id=channel.connection_id,
            topic=topic,
            algorithm_id=flow.algorithm_id,
            api_type=api_type,
        ):
            return
    raise NotAllowed(
        f"dead_letter_topic: the algorithm may not write to {topic}: ask an admin to grant it "
        "dead_letter or publisher access to that topic"
    )


def refuse_lost_settings(flow: Flow, asked: FlowSettings) -> None:
    """Disabling keeps the settings; new ones in the same request would be lost without a word."""
    kept = _settings(flow.last_settings)
    plain = FlowSettings(enabled=False)
    if asked not in (plain, replace(kept, enabled=False)):
        raise InvalidInput(
            "settings change only together with enabled: true; "
            'to disable the flow send {"enabled": false} alone'
        )


def _settings(enabled: FlowEnabled | None) -> FlowSettings:
    if enabled is None:
        return FlowSettings(enabled=False)
    return FlowSettings(
        enabled=True,
        algorithm_version=enabled.algorithm_version,
        dead_letter_topic=enabled.dead_letter_topic,
        concurrency_max=enabled.concurrency_max,
        allow_cycle=enabled.allow_cycle,
        timeout_s=enabled.timeout_s,
        delivery=enabled.delivery or DeliverySettings(),
    )


def enabling(flow: Flow, asked: FlowSettings) -> registry_pb2.EnableFlowRequest:
    """The command that gives a flow these settings."""
    command = registry_pb2.EnableFlowRequest(
        flow_id=flow.flow_id,
        algorithm_version=asked.algorithm_version,
        dead_letter_topic=asked.dead_letter_topic,
        concurrency_max=asked.concurrency_max,
        allow_cycle=asked.allow_cycle,
        timeout_s=asked.timeout_s,
    )
    if asked.delivery != DeliverySettings():
        fill(asked.delivery, command.delivery)
    return command


def with_settings(flow: Flow, asked: FlowSettings, *, version: int) -> Flow:
    """What the catalog will say of the flow once it has caught up."""
    if not asked.enabled:
        return replace(flow, settings=None, stream_version=version)
    settings = FlowEnabled(
        flow_id=flow.flow_id,
        algorithm_version=asked.algorithm_version,
        dead_letter_topic=asked.dead_letter_topic,
        concurrency_max=asked.concurrency_max,
        allow_cycle=asked.allow_cycle,
        timeout_s=asked.timeout_s,
        delivery=asked.delivery,
    )
    return replace(flow, settings=settings, last_settings=settings, stream_version=version)
