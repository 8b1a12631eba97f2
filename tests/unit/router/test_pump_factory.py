"""A pump that cannot be made leaves nothing behind."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from catalog.events import SecurityProtocol
from kernel.errors import Unavailable
from router.adapters.kafka_producers import KafkaProducers
from router.application.task_figures import TaskFigures
from router.bootstrap_pumps import PumpFactory
from router.domain.kafka_connection import KafkaConnection

from tests.support.router_flows import PUBLISHER

SPEC = replace(PUBLISHER, dead_letter_topic="letters", dead_letter_connection_id="c-2")


class Resolver:
    """Connections of which some cannot be resolved."""

    def __init__(self, *away: str) -> None:
        self._away = away

    async def resolve(self, connection_id: str) -> KafkaConnection:
        if connection_id in self._away:
            raise Unavailable("the registry is away")
        return KafkaConnection(
            connection_id=connection_id,
            bootstrap_servers=("127.0.0.1:1",),
            security_protocol=SecurityProtocol.PLAINTEXT,
        )


def factory(resolver: Any, producers: KafkaProducers) -> PumpFactory:
    rest: Any = dict.fromkeys(
        ("runner", "positions", "ownership", "follower", "durations", "tracing", "halts")
    )
    token: Any = SimpleNamespace(authorization="Bearer t")
    return PumpFactory(connections=resolver, producers=producers, token=token, **rest)


@pytest.mark.parametrize("away", ["c-1", "c-2"])
async def test_a_pump_whose_connections_cannot_be_resolved_holds_no_producer(away: str) -> None:
    producers, resolver = KafkaProducers(), Resolver(away)
    pumps = factory(resolver, producers)
    for make in (pumps, partial(pumps.redelivery, figures=TaskFigures())):
        with pytest.raises(Unavailable):
            await make(SPEC)
    there = await resolver.resolve("c-2" if away == "c-1" else "c-1")
    assert producers.use(there).users == 1, "nobody but this test"
