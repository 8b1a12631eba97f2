"""`router.membership`: how long records wait when members of a group come and go, both ways.

Two members read two partitions into which a record is written every 20 ms. The figure of an event
is the longest time that one of the partitions gave nobody a record. *Dynamic* members are told
apart by the broker alone, *static* ones by a name that they keep (`group.instance.id`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from devstack import Kafka

from tests.bench.measurement import Measurement, measured

REPETITIONS = 3
PARTITIONS = 2
RECORD_PAUSE_S = 0.02
QUIET_S = 3.0
"""After an event, once both partitions are read again: a stall that begins late is seen too."""
EVENT_TIMEOUT_S = 40.0


class Group:
    """Two members, their processes, and what they received when."""

    def __init__(self, kafka: Kafka, topic: str, *, static: bool) -> None:
        self._kafka = kafka
        self._topic = topic
        self._static = static
        self._members: dict[int, asyncio.subprocess.Process] = {}
        self._readers: set[asyncio.Task[None]] = set()
        self.received: dict[int, list[float]] = {number: [] for number in range(PARTITIONS)}

    async def start(self, number: int) -> None:
        """A member, the first time or again."""
        instance_id = f"{self._topic}-{number}" if self._static else ""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.membership_member",
            self._kafka.bootstrap_servers, self._topic, self._topic, instance_id,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        self._members[number] = process
        reading = asyncio.create_task(self._listen(process))
        self._readers.add(reading)
        reading.add_done_callback(self._readers.discard)

    async def end(self, number: int, how: signal.Signals) -> None:
        """A member ends, this way or that."""
        process = self._members[number]
        process.send_signal(how)
        await process.wait()

    async def until_read_since(self, began_s: float) -> None:
        """Until both partitions were read after that moment, and for QUIET_S."""
        async with asyncio.timeout(EVENT_TIMEOUT_S):
            while not all(times and times[-1] > began_s for times in self.received.values()):
                await asyncio.sleep(RECORD_PAUSE_S)
        await asyncio.sleep(QUIET_S)

    def longest_stall_s(self, began_s: float) -> float:
        """The longest silence of a partition from that moment on."""
        longest_s = 0.0
        for times in self.received.values():
            since = [began_s, *(at for at in times if at > began_s)]
            longest_s = max(longest_s, *(b - a for a, b in itertools.pairwise(since)))
        return longest_s

    async def close(self) -> None:
        for process in self._members.values():
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            with contextlib.suppress(ValueError):  # the last line of one that was killed
                number, at_s = line.split()
                self.received[int(number)].append(float(at_s))


async def _takeover(group: Group) -> None:
    await group.end(0, signal.SIGKILL)


async def _restart_after_kill(group: Group) -> None:
    await group.end(0, signal.SIGKILL)
    await group.start(0)


async def _restart_after_stop(group: Group) -> None:
    await group.end(0, signal.SIGTERM)
    await group.start(0)


async def _stop_for_good(group: Group) -> None:
    await group.end(0, signal.SIGTERM)


async def _rolling(group: Group) -> None:
    for number in range(2):
        await group.end(number, signal.SIGTERM)
        began_s = time.monotonic()
        await group.start(number)
        await group.until_read_since(began_s)


EVENTS: dict[str, Callable[[Group], Awaitable[None]]] = {
    "kill -9, the other member takes over": _takeover,
    "kill -9, restarted at once under its name": _restart_after_kill,
    "SIGTERM, the other member takes over": _stop_for_good,
    "SIGTERM, restarted at once": _restart_after_stop,
    "rolling restart of both": _rolling,
}


async def measure() -> Measurement:
    """All events, both ways alternately, on one broker."""
    stalls: dict[tuple[str, bool], list[float]] = {}
    kafka = Kafka(name="membership")
    await kafka.start()
    try:
        for _ in range(REPETITIONS):
            for event in EVENTS:
                for static in (False, True):
                    stall_s = await _stall_of(kafka, event, static=static)
                    stalls.setdefault((event, static), []).append(stall_s)
                    print(f"  {event}, {'static' if static else 'dynamic'}: {stall_s:.2f} s")
    finally:
        await kafka.stop()
    first = next(iter(EVENTS))
    return measured(
        "router.membership",
        stalls[first, False],
        unit="s without a record after a kill -9",
        reference="static membership",
        reference_values=stalls[first, True],
        packages=["aiokafka"],
        notes={
            f"{event}, {'static' if static else 'dynamic'} (s)": round(statistics.median(found), 2)
            for (event, static), found in stalls.items()
        },
    )


async def _stall_of(kafka: Kafka, event: str, *, static: bool) -> float:
    topic = f"m-{uuid.uuid4().hex[:12]}"
    await kafka.create_topic(topic, PARTITIONS)
    group = Group(kafka, topic, static=static)
    async with _writing(kafka, topic):
        try:
            for number in range(2):
                began_s = time.monotonic()
                await group.start(number)
                await group.until_read_since(began_s)
            began_s = time.monotonic()
            await EVENTS[event](group)
            await group.until_read_since(time.monotonic())
            return group.longest_stall_s(began_s)
        finally:
            await group.close()


@asynccontextmanager
async def _writing(kafka: Kafka, topic: str) -> AsyncIterator[None]:
    """Within, every partition gets a record regularly."""

    async def write() -> None:
        async with AIOKafkaProducer(**kafka.client_settings()) as producer:
            while True:
                for number in range(PARTITIONS):
                    await producer.send(topic, b"x", partition=number)
                await asyncio.sleep(RECORD_PAUSE_S)

    writing = asyncio.create_task(write())
    try:
        yield
    finally:
        writing.cancel()
        await asyncio.wait({writing})
