"""Dead letters from death to redrive, through the services' own gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from eventflows.events.v1 import events_pb2
from eventflows.router.v1 import router_pb2

from examples.demo import steps, traffic
from tests.e2e.conftest import OWNER, Landscape
from tests.support.dead_letter_calls import Calls, calls_to, change_code
from tests.support.numbered import numbered_records


@pytest_asyncio.fixture(loop_scope="session")
async def calls(landscape: Landscape) -> AsyncIterator[Calls]:
    async with calls_to(landscape.cluster) as made:
        yield made


async def test_dead_letters_are_found_redriven_and_purged(
    landscape: Landscape, folder: Path, calls: Calls
) -> None:
    algorithm, version = await landscape.algorithm(folder)
    images = await landscape.topic("images", partitions=1)
    flow = await landscape.wire(algorithm, version, images, "subscriber")
    await landscape.running(algorithm, flow)
    bad = numbered_records(3, keys=1, fail=True)
    async with traffic.producer(landscape.cluster.customer_kafka) as client:
        await traffic.produce(client, images, bad)
    letters = await calls.until_letters(flow, 3)
    assert [letter.offset for letter in sorted(letters, key=lambda one: one.offset)] == [0, 1, 2]
    whole = await calls.ask(
        calls.routers[1].GetDeadLetter,
        router_pb2.GetDeadLetterRequest(letter_id=letters[0].letter_id),
    )
    assert whole.value == bad[letters[0].offset].value
    assert (whole.letter.error_type, whole.history[-1].outcome) == ("InputError", "algorithm_error")

    first = events_pb2.DeadLetterSelection(offset_first=1, offset_last=2)
    counted = await calls.ask(
        calls.routers[0].CountDeadLetters,
        router_pb2.CountDeadLettersRequest(flow_id=flow, selection=first),
    )
    assert counted.letters == 2
    again = await calls.task("RequestRedrive", flow, selection=first, rate_per_s=100)
    assert (again.succeeded, again.failed) == (0, 2)
    still = await calls.until_letters(flow, 3)
    assert sorted((letter.offset, letter.generation) for letter in still) == [
        (0, 0),
        (1, 1),
        (2, 1),
    ]

    await change_code(
        folder, algorithm.split("/")[1], lambda code: code.replace('("fail")', '("no")')
    )
    repaired = await steps.publish_version(
        landscape.owner, owner=OWNER, name=algorithm.split("/")[1]
    )
    redriven = await calls.task("RequestRedrive", flow, algorithm_version=repaired, rate_per_s=100)
    assert (redriven.succeeded, redriven.failed) == (3, 0)
    assert await calls.letters(flow) == []

    async with traffic.producer(landscape.cluster.customer_kafka) as client:
        await traffic.produce(client, images, bad[:1])
    await calls.until_letters(flow, 1)
    purged = await calls.task("RequestPurge", flow)
    assert purged.succeeded == 1
    assert await calls.letters(flow) == []
    state = router_pb2.DEAD_LETTER_STATE_PURGED
    (gone,) = await calls.letters(flow, state=state)
    assert gone.offset == 3


async def test_a_topic_of_its_own_is_scanned_and_redriven(
    landscape: Landscape, folder: Path, calls: Calls
) -> None:
    algorithm, version = await landscape.algorithm(folder)
    images, rejects = await landscape.topic("images"), await landscape.topic("rejects")
    grants = {algorithm: "dead_letter"}
    await steps.grant(
        landscape.admin, connection=landscape.connection, topic=rejects, algorithms=grants
    )
    flow = await landscape.wire(algorithm, version, images, "subscriber", dead_letter_topic=rejects)
    await landscape.running(algorithm, flow)
    (bad,) = numbered_records(1, keys=1, fail=True)
    async with traffic.producer(landscape.cluster.customer_kafka) as client:
        await client.send_and_wait(rejects, b"not a letter")
        await traffic.produce(client, images, [bad])
    (letter,) = await calls.until_letters(flow, 1, own_topic=True)
    assert letter.letter_topic == rejects
    whole = await calls.ask(
        calls.routers[1].GetDeadLetter,
        router_pb2.GetDeadLetterRequest(letter_id=letter.letter_id, flow_id=flow, own_topic=True),
    )
    assert (whole.value, whole.letter.record_key) == (bad.value, bad.key)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await calls.letters("no such flow", own_topic=True)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND

    again = await calls.task("RequestRedrive", flow, own_topic=True)
    assert (again.succeeded, again.failed) == (0, 1)
    (born,) = await calls.letters(flow, own_topic=True)
    assert (born.letter_topic, born.generation) == (rejects, 1)
    name = algorithm.split("/")[1]
    await change_code(folder, name, lambda code: code.replace('("fail")', '("no")'))
    repaired = await steps.publish_version(landscape.owner, owner=OWNER, name=name)
    counted = await calls.ask(
        calls.routers[0].CountDeadLetters,
        router_pb2.CountDeadLettersRequest(flow_id=flow, own_topic=True),
    )
    assert (counted.letters, counted.truncated) == (1, False)
    redriven = await calls.task("RequestRedrive", flow, own_topic=True, algorithm_version=repaired)
    assert (redriven.succeeded, redriven.failed) == (1, 0)
    assert await calls.letters(flow, own_topic=True) == []
    state = router_pb2.DEAD_LETTER_STATE_REDRIVEN
    assert len(await calls.letters(flow, own_topic=True, state=state)) == 2
    nothing = await calls.task("RequestRedrive", flow, own_topic=True)
    assert (nothing.succeeded, nothing.failed) == (0, 0)
