"""A broker without a network: it answers what producers of aiokafka would send to one, and knows
the numbers of an idempotent producer as a real broker does."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.protocol.produce import ProduceResponse_v7
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import PartitionMetadata

TOPIC, LETTERS = "t", "dead-letters"
NO_ERROR, OUT_OF_ORDER, INVALID_RECORD = 0, 45, 87


def compacted(topic: str, records: Sequence[Any]) -> int:
    """`TOPIC` takes no record without a key."""
    is_refused = topic == TOPIC and any(record.key is None for record in records)
    return INVALID_RECORD if is_refused else NO_ERROR


class OfflineBroker:
    """Has `TOPIC` and `LETTERS`, of a partition each; `judge` says by topic and records of a batch
    what it answers."""

    def __init__(self, judge: Callable[[str, Sequence[Any]], int]) -> None:
        self.values: list[bytes | None] = []
        """What was appended, in that order."""
        self.producers: list[AIOKafkaProducer] = []
        """All that were started."""
        self._judge = judge
        self._ids = count(1)
        self._next: dict[tuple[int, str], int] = {}

    async def start(self, producer: AIOKafkaProducer) -> None:
        """In the place of `AIOKafkaProducer.start`."""
        self.producers.append(producer)
        producer._txn_manager.set_pid_and_epoch(next(self._ids), 0)
        producer._metadata._partitions = {
            topic: {0: PartitionMetadata(topic, 0, leader=0, replicas=[0], isr=[0], error=None)}
            for topic in (TOPIC, LETTERS)
        }
        producer.client.send = self._answer
        await producer._sender.start()

    async def _answer(self, node_id: int, request: Any) -> Any:
        ((topic, ((_, data),)),) = request._topics
        batch = MemoryRecords(bytes(data)).next_batch()
        records = list(batch)
        code = self._judge(topic, records)
        place = (batch.producer_id, topic)
        if code == NO_ERROR and batch.base_sequence != self._next.get(place, 0):
            code = OUT_OF_ORDER
        if code == NO_ERROR:
            self._next[place] = batch.base_sequence + len(records)
            self.values += [record.value for record in records]
        return ProduceResponse_v7([(topic, [(0, code, 0, -1, 0)])], 0)
