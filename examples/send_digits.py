"""Send ten unseen digits to `images` and print what comes out on `labels`, against `make up`.

With `--damaged` send three records that are no digits, which become dead letters.
Reads the customer's Kafka from the variables of `build/up/env`.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from examples.demo.records import demo_records

COUNT = 10
TIMEOUT_S = 30.0
DAMAGED = (b"not an image", b'{"id": 99, "pixels": [1, 2]}', b"\xff\x00\xfe")


def client_settings() -> dict[str, Any]:
    """Keyword arguments for aiokafka's clients. Raises SystemExit when a variable is missing."""
    try:
        ca_file = os.environ["CUSTOMER_KAFKA_CA"]
        return {
            "bootstrap_servers": os.environ["CUSTOMER_KAFKA"],
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": os.environ["CUSTOMER_KAFKA_USER"],
            "sasl_plain_password": os.environ["CUSTOMER_KAFKA_PASSWORD"],
            "ssl_context": ssl.create_default_context(cafile=ca_file),
        }
    except KeyError as missing:
        raise SystemExit(f"{missing} is not set: `make up`, then `source build/up/env`") from None


async def main() -> None:
    """Produce, then consume until every image has its label."""
    settings = client_settings()
    records = demo_records(COUNT, keys=COUNT)
    consumer = AIOKafkaConsumer("labels", group_id=None, auto_offset_reset="latest", **settings)
    async with consumer, AIOKafkaProducer(**settings, acks="all") as producer:
        await consumer.seek_to_end()
        for record in records:
            await producer.send_and_wait("images", key=record.key, value=record.value)
        waiting = {record.number: record.digit for record in records}
        async with asyncio.timeout(TIMEOUT_S):
            async for message in consumer:
                result = json.loads(message.value)
                if result["id"] in waiting:
                    truth = waiting.pop(result["id"])
                    print(f"{message.key.decode()}: {result}  (truth: {truth})")
                if not waiting:
                    return


async def send_damaged() -> None:
    """Produce what the algorithm refuses."""
    async with AIOKafkaProducer(**client_settings(), acks="all") as producer:
        for number, value in enumerate(DAMAGED):
            await producer.send_and_wait("images", key=b"camera-%02d" % number, value=value)
    print(f"{len(DAMAGED)} damaged records sent: `eventflows dlq list` shows what became of them")


if __name__ == "__main__":
    asyncio.run(send_damaged() if sys.argv[1:] == ["--damaged"] else main())
