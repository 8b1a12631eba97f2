"""The metrics port answers while its context lasts, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest
from prometheus_client import CollectorRegistry, Counter
from servicekit import metrics
from servicekit.metrics import serve_metrics
from servicekit.settings import HostPort, SettingsError

LOOPBACK = HostPort("127.0.0.1", 0)
ANSWER_TIMEOUT_S = 10.0


async def scrape(address: HostPort) -> str:
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    return answer.decode()


def metrics_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "metrics"]


async def test_metrics_are_served() -> None:
    registry = CollectorRegistry()
    Counter("records", "Records settled", registry=registry).inc(7)
    async with serve_metrics(LOOPBACK, registry=registry) as address:
        answers = [await scrape(address) for _ in range(3)]
    assert all("200 OK" in answer and "records_total 7.0" in answer for answer in answers)


async def test_after_the_stop_port_and_thread_are_gone() -> None:
    async with serve_metrics(LOOPBACK, registry=CollectorRegistry()) as address:
        assert len(metrics_threads()) == 1
        await scrape(address)
    assert metrics_threads() == []
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(address.host, address.port)


async def test_a_silent_scraper_does_not_block_the_others_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics._Handler, "timeout", 0.05)
    async with serve_metrics(LOOPBACK, registry=CollectorRegistry()) as address:
        with socket.create_connection((address.host, address.port)):
            assert "200 OK" in await scrape(address)


async def test_a_scraper_that_hangs_up_harms_nobody() -> None:
    async with serve_metrics(LOOPBACK, registry=CollectorRegistry()) as address:
        with socket.create_connection((address.host, address.port)) as scraper:
            scraper.sendall(b"GET /metrics HTT")
        assert "200 OK" in await scrape(address)


async def test_a_taken_port_is_a_problem_of_the_settings() -> None:
    async with serve_metrics(LOOPBACK, registry=CollectorRegistry()) as address:
        with pytest.raises(SettingsError, match=str(address)):
            async with serve_metrics(address, registry=CollectorRegistry()):
                pytest.fail("two servers on one port")
