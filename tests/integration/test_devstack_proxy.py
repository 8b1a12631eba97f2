"""A cut network: nothing is closed, nobody is told, and what waited arrives after all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from devstack import Kafka, TcpProxy

SILENCE_S = 0.3
ANSWER_TIMEOUT_S = 10.0


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[TcpProxy]:
    """In front of a server that says everything twice."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(100):
            writer.write(chunk * 2)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, TcpProxy() as proxy:
        proxy.target_port = server.sockets[0].getsockname()[1]
        yield proxy


async def test_bytes_go_through_and_back(proxy: TcpProxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"ab")
    assert await asyncio.wait_for(reader.readexactly(4), ANSWER_TIMEOUT_S) == b"abab"
    writer.close()


async def test_a_cut_is_silent_and_what_waited_arrives_when_it_heals(proxy: TcpProxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    proxy.cut()
    writer.write(b"ab")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), SILENCE_S)
    assert not reader.at_eof()
    proxy.heal()
    assert await asyncio.wait_for(reader.readexactly(4), ANSWER_TIMEOUT_S) == b"abab"
    writer.close()


async def test_a_connection_made_during_a_cut_is_taken_and_leads_nowhere(proxy: TcpProxy) -> None:
    proxy.cut()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"ab")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), SILENCE_S)
    proxy.heal()
    assert await asyncio.wait_for(reader.readexactly(4), ANSWER_TIMEOUT_S) == b"abab"
    writer.close()


async def test_the_end_of_one_side_reaches_the_other(proxy: TcpProxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), ANSWER_TIMEOUT_S) == b""
    writer.close()


async def test_a_server_that_is_away_closes_the_connection() -> None:
    async with TcpProxy() as proxy:
        proxy.target_port = 9
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await asyncio.wait_for(reader.read(), ANSWER_TIMEOUT_S) == b""
        writer.close()


async def test_clients_of_kafka_that_come_through_a_proxy_are_sent_back_through_it() -> None:
    async with TcpProxy() as proxy:
        broker = Kafka(proxy_port=proxy.port)
        try:
            await broker.start()
            proxy.target_port = broker.proxied_port
            await broker.create_topic("kept")
            async with AIOKafkaProducer(bootstrap_servers=proxy.address, acks="all") as producer:
                await producer.send_and_wait("kept", b"1")
                proxy.cut()
                sent = await producer.send("kept", b"2")
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(sent), SILENCE_S)
                proxy.heal()
                written = await asyncio.wait_for(sent, ANSWER_TIMEOUT_S)
            assert written.offset == 1
        finally:
            await broker.stop()
