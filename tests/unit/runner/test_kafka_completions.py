"""However many wait for a Kafka that does not answer, each hears so after one attempt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from kernel.errors import Unavailable
from runner.adapters import kafka_completions
from runner.adapters.kafka_completions import KafkaCompletions

ALGORITHM_ID = "3f0c9f52-0000-4000-8000-000000000001"
WAITERS = 20

Wait = Callable[[KafkaCompletions], Awaitable[None]]


class SilentKafka:
    """A broker that is frozen: it accepts connections and never answers."""

    def __init__(self) -> None:
        self.connected, self.disconnected = asyncio.Event(), asyncio.Event()
        self.connections = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.connected.set()
        await reader.read()  # until the other side ends
        writer.close()
        self.disconnected.set()


@pytest.fixture
def silent() -> SilentKafka:
    return SilentKafka()


@pytest.fixture
async def completions(silent: SilentKafka) -> AsyncIterator[KafkaCompletions]:
    async with await asyncio.start_server(silent.accept, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        completions = KafkaCompletions(f"{host}:{port}")
        yield completions
        await completions.close()


def _for_a_topic(completions: KafkaCompletions) -> Awaitable[None]:
    return completions.prepare(ALGORITHM_ID)


def _for_the_producer(completions: KafkaCompletions) -> Awaitable[None]:
    return completions.connect()


waiting = pytest.mark.parametrize("wait", [_for_a_topic, _for_the_producer])


@waiting
async def test_all_who_wait_get_the_error_of_one_attempt(
    silent: SilentKafka,
    completions: KafkaCompletions,
    wait: Wait,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_completions, "REQUEST_TIMEOUT_MS", 100)
    for attempts in (1, 2):
        waiters = [asyncio.ensure_future(wait(completions)) for _ in range(WAITERS)]
        done, _ = await asyncio.wait(waiters)
        assert len({waiter.exception() for waiter in done}) == 1
        assert isinstance(waiters[0].exception(), Unavailable)
        assert silent.connections == attempts, "whoever asks later tries anew"


@waiting
async def test_who_goes_away_leaves_the_attempt_to_the_others(
    silent: SilentKafka,
    completions: KafkaCompletions,
    wait: Wait,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_completions, "REQUEST_TIMEOUT_MS", 100)
    first, second = (asyncio.ensure_future(wait(completions)) for _ in range(2))
    await silent.connected.wait()
    first.cancel()
    with pytest.raises(Unavailable):
        await second
    assert first.cancelled()
    assert silent.connections == 1


@waiting
async def test_closing_ends_an_attempt_and_leaves_nothing_behind(
    silent: SilentKafka, completions: KafkaCompletions, wait: Wait
) -> None:
    before = asyncio.all_tasks()
    waiter = asyncio.ensure_future(wait(completions))
    await silent.connected.wait()
    async with asyncio.timeout(5):
        await completions.close()
        with pytest.raises(Unavailable):
            await waiter
        await silent.disconnected.wait()
    assert asyncio.all_tasks() - before == set()


@pytest.mark.parametrize(("wait", "bound"), [(_for_a_topic, "TOPIC"), (_for_the_producer, "START")])
async def test_an_attempt_ends_at_its_bound_whatever_the_driver_does(
    completions: KafkaCompletions, wait: Wait, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_completions, f"{bound}_TIMEOUT_S", 0.05)
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="TimeoutError"):
            await wait(completions)
