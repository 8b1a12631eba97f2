"""`router.http_client`: a call of our HTTP client beside one of aiohttp, both on uvloop.

Both POST the same record with the router's headers to the cheapest endpoint, which has a core of
its own, over 64 connections, alternately.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import ClientSession, TCPConnector
from router.adapters.http_client import HttpPool
from router.adapters.http_request import request_prefix
from yarl import URL

from tests.bench.cores import MEASURED, OTHERS, pin
from tests.bench.endpoint import running_endpoint
from tests.bench.measurement import SCALE, Aim, Measurement, measured

REPETITIONS = 3
CALLS = int(60_000 * SCALE)
AT_ONCE = 64
WARM_UP_CALLS = AT_ONCE * 4
TIMEOUT_S = 30.0
PATH = "/v1/algo/acme/digits/1.2.3"
BODY = b'{"n":1,"text":"' + b"x" * 183 + b'"}'
FIELDS = {
    "Authorization": "Bearer " + "t" * 43,
    "X-Eventflows-Account": "account-39f632dc",
    "X-Eventflows-Flow": "flow-39f632dc",
    "X-Eventflows-Mode": "live",
    "X-Eventflows-Request-Id": "req-39f632dc-2f2e-52c3-a2b3-d9f5aacec3a8",
    "X-Eventflows-Attempt": "1",
    "X-Eventflows-Hops": "1",
    "X-Eventflows-Position": "12345",
    "X-Eventflows-Record-Key": "a2V5LTEyMw==",
    "Content-Type": "application/json",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One repetition: CPU of this process for a call, and calls in a second."""

    cpu_us: float
    calls_per_s: float


async def measure() -> Measurement:
    """Alternate ours and aiohttp, each with its connections open."""
    ours: list[Run] = []
    theirs: list[Run] = []
    cores = os.sched_getaffinity(0)
    async with running_endpoint() as endpoint:
        pin(endpoint.process.pid, OTHERS)
        os.sched_setaffinity(0, MEASURED)
        try:
            for _ in range(REPETITIONS):
                ours.append(await _ours(endpoint.url))
                theirs.append(await _aiohttp(endpoint.url))
        finally:
            os.sched_setaffinity(0, cores)
        program = endpoint.program
    cpu_us = statistics.median(run.cpu_us for run in ours)
    return measured(
        "router.http_client",
        [run.cpu_us for run in ours],
        unit="µs CPU a call",
        reference="aiohttp",
        reference_values=[run.cpu_us for run in theirs],
        packages=["aiohttp", "httptools", "uvloop"],
        aims=[Aim(what="µs CPU a call", value=cpu_us, limit=30)],
        notes={
            "calls/s": round(statistics.median(run.calls_per_s for run in ours)),
            "calls/s, aiohttp": round(statistics.median(run.calls_per_s for run in theirs)),
            "at once": AT_ONCE,
            "endpoint": program,
        },
    )


async def _ours(url: str) -> Run:
    pool = HttpPool(url)
    length = {"Content-Length": str(len(BODY))}
    head = request_prefix("POST", PATH, {"Host": pool.host_header} | FIELDS | length) + b"\r\n"

    async def call() -> None:
        answer = await pool.call(head, BODY, timeout_s=TIMEOUT_S)
        assert answer.status == 200

    try:
        return await _timed(call)
    finally:
        await pool.close()


async def _aiohttp(url: str) -> Run:
    connector = TCPConnector(limit=0)
    target = URL(url + PATH, encoded=True)
    async with ClientSession(connector=connector, auto_decompress=False) as session:

        async def call() -> None:
            async with session.post(
                target, data=BODY, headers=FIELDS, allow_redirects=False
            ) as answer:
                await answer.read()
                assert answer.status == 200

        return await _timed(call)


async def _timed(call: Callable[[], Awaitable[None]]) -> Run:
    async def caller(count: int) -> None:
        for _ in range(count):
            await call()

    async def callers(calls: int) -> None:
        await asyncio.gather(*(caller(calls // AT_ONCE) for _ in range(AT_ONCE)))

    await callers(WARM_UP_CALLS)
    began_s, cpu_began_s = time.perf_counter(), time.process_time()
    await callers(CALLS)
    took_s, cpu_took_s = time.perf_counter() - began_s, time.process_time() - cpu_began_s
    return Run(cpu_us=cpu_took_s / CALLS * 1e6, calls_per_s=CALLS / took_s)
