"""A broker without a network: it answers what producers of aiokafka would send to one, and knows
the numbers of an idempotent producer as a real broker does."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.protocol.produce import ProduceResponse_v7
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import PartitionMetadata

TOPIC = "t"
NO_ERROR, OUT_OF_ORDER = 0, 45


class OfflineBroker:
    """Has the one partition of `TOPIC`; `judge` says by a batch's records what it answers."""

    def __init__(self, judge: Callable[[Sequence[Any]], int]) -> None:
        self.values: list[bytes | None] = []
        """What was appended, in that order."""
        self.producers: list[AIOKafkaProducer] = []
        """All that were started."""
        self._judge = judge
        self._ids = count(1)
        self._next: dict[int, int] = {}

    async def start(self, producer: AIOKafkaProducer) -> None:
        """In the place of `AIOKafkaProducer.start`."""
        self.producers.append(producer)
        producer._txn_manager.set_pid_and_epoch(next(self._ids), 0)
        leads = PartitionMetadata(TOPIC, 0, leader=0, replicas=[0], isr=[0], error=None)
        producer._metadata._partitions = {TOPIC: {0: leads}}
        producer.client.send = self._answer
        await producer._sender.start()

    async def _answer(self, node_id: int, request: Any) -> Any:
        ((_, ((_, data),)),) = request._topics
        batch = MemoryRecords(bytes(data)).next_batch()
        records = list(batch)
        code = self._judge(records)
        if code == NO_ERROR and batch.base_sequence != self._next.get(batch.producer_id, 0):
            code = OUT_OF_ORDER
        if code == NO_ERROR:
            self._next[batch.producer_id] = batch.base_sequence + len(records)
            self.values += [record.value for record in records]
        return ProduceResponse_v7([(TOPIC, [(0, code, 0, -1, 0)])], 0)
