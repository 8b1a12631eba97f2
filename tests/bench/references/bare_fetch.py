"""`python -m tests.bench.references.bare_fetch SERVERS TOPIC GROUP URL`: what latency cannot beat.

Nobody can be much faster from Kafka in Python: blocking sockets, one fetch after the other in a
fetch session of its own, each record sent at once to the endpoint. No group, no commit, no order,
no second call beside the first; what it takes is the broker's and the machine's.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import urlsplit

from aiokafka.record.memory_records import MemoryRecords
from router.adapters.kafka_fetch_session import FetchSession, framed, read_answer

PARTITIONS = 12
VERSION = 11
WAIT_MS = 2_000
TIMEOUT_S = 30.0
FETCH_BYTES_MAX = 1024 * 1024
PARTITION_BYTES_MAX = 256 * 1024


def read_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        some = connection.recv(size - len(data))
        if not some:
            raise EOFError("the broker closed the connection")
        data += some
    return data


def values(servers: str, topic: str) -> Iterator[bytes]:
    """Of all records from the beginning, for ever."""
    host, port = servers.split(",")[0].rsplit(":", 1)
    session = FetchSession(topic, read_committed=False, bytes_max=FETCH_BYTES_MAX)
    session.partition_bytes_max = PARTITION_BYTES_MAX
    positions = dict.fromkeys(range(PARTITIONS), 0)
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            body = session.request(dict(positions), version=VERSION, wait_ms=WAIT_MS)
            connection.sendall(framed(body, version=VERSION, correlation_id=1, client_id=b"bare"))
            (size,) = struct.unpack(">i", read_exactly(connection, 4))
            answer = read_answer(read_exactly(connection, size), version=VERSION, begin=4)
            session.answered(answer)
            for fetched in answer.partitions:
                batches = MemoryRecords(fetched.records or b"")
                while batches.has_next():
                    batch = batches.next_batch()
                    for record in batch:
                        if record.offset >= positions[fetched.partition]:
                            yield record.value
                    positions[fetched.partition] = batch.next_offset


def main(servers: str, topic: str, group: str, url: str) -> None:
    """Until somebody ends the process."""
    address = urlsplit(url)
    endpoint = HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT_S)
    for value in values(servers, topic):
        endpoint.request("POST", address.path, value, {"Content-Type": "application/json"})
        endpoint.getresponse().read()


if __name__ == "__main__":
    main(*sys.argv[1:5])
