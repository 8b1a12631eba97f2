"""What happens to commits that overlap, fail, or find no room, on a real broker."""

import asyncio
from typing import Any

import pytest
from aiokafka import client as aiokafka_client
from aiokafka.client import ConnectionGroup
from aiokafka.errors import NotCoordinatorForGroupError
from devstack import Kafka
from kernel.errors import Unavailable
from router.adapters.kafka_source import KafkaSource
from router.domain.errors import StaleAssignment
from router.domain.low_water import Mark
from router.domain.topic_identity import split_identity

from tests.support.router_sources import Reader, kafka_topic, reading


def _coordinator(reader: Reader) -> Any:
    """aiokafka's."""
    assert isinstance(reader.source, KafkaSource)
    assert reader.source._consumer is not None
    return reader.source._consumer._coordinator


async def test_a_commit_that_failed_is_tried_again_only_while_no_other_came_after_it(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kafka_topic(kafka) as topic:
        await topic.append(b"0")
        await topic.append(b"1")
        async with reading(topic) as reader:
            await reader.read(2)
            source = reader.source
            assert isinstance(source, KafkaSource)
            assert source._consumer is not None
            coordinator = source._consumer._coordinator
            send, sent = coordinator._do_commit_offsets, asyncio.Event()

            async def fail_once(assignment: object, offsets: object) -> None:
                """As a broker does that is no coordinator of the group any more."""
                monkeypatch.setattr(coordinator, "_do_commit_offsets", send)
                sent.set()
                raise NotCoordinatorForGroupError

            monkeypatch.setattr(coordinator, "_do_commit_offsets", fail_once)
            first = asyncio.create_task(reader.settle(1))
            await sent.wait()
            await reader.settle(2)
            with pytest.raises(Unavailable, match="others came after it"):
                await first
            monkeypatch.setattr(coordinator, "_do_commit_offsets", fail_once)
            await reader.settle(2)
        assert await topic.committed() == 2


async def test_a_commit_that_waits_for_a_connection_is_not_sent_after_a_later_one(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kafka_topic(kafka) as topic:
        async with reading(topic) as reader:
            coordinator = _coordinator(reader)
            connections = coordinator._client._conns
            create = aiokafka_client.create_conn
            connected, go_on = asyncio.Event(), asyncio.Event()

            async def create_late(*args: object, **settings: object) -> object:
                connection = await create(*args, **settings)
                connected.set()
                await go_on.wait()
                return connection

            async def settle_later() -> None:
                await go_on.wait()
                await reader.settle(2)

            monkeypatch.setattr(aiokafka_client, "create_conn", create_late)
            connections.pop((coordinator.coordinator_id, ConnectionGroup.COORDINATION)).close()
            async with asyncio.TaskGroup() as group:
                group.create_task(coordinator._do_heartbeat())
                await asyncio.wait_for(connected.wait(), timeout=10)
                first = asyncio.create_task(reader.settle(1))
                second = group.create_task(settle_later())
                await asyncio.sleep(0)
                go_on.set()
            await asyncio.wait({first})
            assert second.done()
            with pytest.raises(Unavailable, match="others came after it"):
                first.result()
        assert await topic.committed() == 2


async def test_a_commit_that_failed_is_not_tried_again_as_the_member_of_a_later_assignment(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kafka_topic(kafka) as topic:
        async with reading(topic) as reader:
            coordinator = _coordinator(reader)
            send = coordinator._do_commit_offsets

            async def fail_after_a_rebalance(assignment: object, offsets: object) -> None:
                monkeypatch.setattr(coordinator, "_do_commit_offsets", send)
                coordinator.request_rejoin()
                await reader.until(lambda: reader.assignments == 2)
                raise NotCoordinatorForGroupError

            monkeypatch.setattr(coordinator, "_do_commit_offsets", fail_after_a_rebalance)
            with pytest.raises(StaleAssignment):
                await reader.settle(1)
        assert await topic.committed() == 0


async def test_a_broker_that_keeps_little_metadata_is_given_as_much_as_it_takes() -> None:
    own = Kafka(name="own-kafka", overrides={"offset.metadata.max.bytes": "100"})
    await own.start()
    try:
        async with kafka_topic(own) as topic:
            finished = tuple((number, number) for number in range(1, 200, 2))
            mark = Mark(position=0, finished=finished)
            async with reading(topic) as reader:
                assert await reader.source.settle({0: mark}, epoch=reader.epoch) == 1
            identity, text = split_identity(await topic.committed_metadata())
            assert identity is not None
            assert len(identity.prefix + text) > 50
            async with reading(topic) as reader:
                kept = reader.finished[0]
                assert kept == finished[: len(kept)]
                assert kept
                assert isinstance(reader.source, KafkaSource)
                assert reader.source._positions is not None
                reader.source._positions._keep_less(len(identity.prefix))
                assert await reader.source.settle({0: mark}, epoch=reader.epoch) == 1
            assert await topic.committed_metadata() == ""
    finally:
        await own.stop()
