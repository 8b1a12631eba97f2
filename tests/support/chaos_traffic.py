"""The customer's producer in the fault suite: a steady stream that survives its broker's death."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from devstack import Kafka

from tests.support.chaos_world import Wires, hot_key

KEYS = 1_000
STOP_TIMEOUT_S = 60.0
START_PAUSE_S = 0.5
CLOSE_TIMEOUT_S = 5.0


class Traffic:
    """Sends numbered records to the sources in turn, at `per_s`. What the broker took stands in the
    source; what it did not take for certain is not sent again, so the source has no doubles."""

    def __init__(
        self,
        kafka: Kafka,
        wires: Sequence[Wires],
        *,
        per_s: float,
        seed: int,
        poison: Mapping[int, str] | None = None,
    ) -> None:
        self._kafka = kafka
        self._wires = wires
        self._per_s = per_s
        self._dice = random.Random(seed)
        self._poison = dict(poison or {})
        self._numbers = count()
        self._failed = False
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self.sent = 0

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Send nothing more; return when the broker has answered for all that was sent."""
        assert self._task is not None
        self._stopping = True
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await self._task

    async def _run(self) -> None:
        while not self._stopping:
            producer = AIOKafkaProducer(
                **self._kafka.client_settings(), acks="all", enable_idempotence=True, linger_ms=2
            )
            try:
                await producer.start()
                self._failed = False
                await self._send_steadily(producer)
                with suppress(KafkaError):
                    await producer.flush()
            except KafkaError:
                await asyncio.sleep(START_PAUSE_S)
            finally:
                with suppress(KafkaError, TimeoutError):
                    await asyncio.wait_for(producer.stop(), CLOSE_TIMEOUT_S)

    async def _send_steadily(self, producer: AIOKafkaProducer) -> None:
        """Until it is stopped, or until this producer has failed and needs to be made anew."""
        due_s = time.monotonic()
        while not self._stopping and not self._failed:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            due_s = max(due_s + 1 / self._per_s, time.monotonic() - 1.0)
            number = next(self._numbers)
            wires = self._wires[number % len(self._wires)]
            key = hot_key(self._dice, KEYS)
            record = {"n": number, "key": key.decode()}
            if number in self._poison:
                record["poison"] = self._poison[number]
            value = json.dumps(record).encode()
            sent = await producer.send(wires.source, key=key, value=value)
            sent.add_done_callback(self._look_at)
            self.sent += 1

    def _look_at(self, sent: asyncio.Future[object]) -> None:
        if sent.cancelled() or sent.exception() is not None:
            self._failed = True
