"""Appends by PyPI `eventsourcing`, as a process of its own: threads that call its recorder.

Reads its task as JSON from standard input, prints the number of appends as soon as the time is up.
Locking is the library's default: an exclusive lock of the table, so that positions are in order.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

TOPIC = "account.created.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one process does. `pool`: connections that its threads share."""

    dsn: str
    threads: int
    pool: int
    load_s: float
    event_bytes: int

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def main(task: Task) -> int:
    """Append until the time is up; how many were acknowledged."""
    if psycopg.pq.__impl__ != "binary":
        raise SystemExit("psycopg without its binary driver would be no fair reference")
    recorder = PostgresApplicationRecorder(_datastore(task))
    recorder.create_table()
    state = b"x" * task.event_bytes
    end_s = time.monotonic() + task.load_s

    def append_again_and_again(_thread: int) -> int:
        count = 0
        while time.monotonic() < end_s:
            event = StoredEvent(
                originator_id=uuid4(), originator_version=1, topic=TOPIC, state=state
            )
            recorder.insert_events([event])
            count += 1
        return count

    with ThreadPoolExecutor(task.threads) as threads:
        return sum(threads.map(append_again_and_again, range(task.threads)))


def _datastore(task: Task) -> PostgresDatastore:
    at = urlsplit(task.dsn)
    return PostgresDatastore(
        dbname=at.path.removeprefix("/"),
        host=at.hostname or "",
        port=at.port or 0,
        user=at.username or "",
        password=at.password or "",
        pool_size=task.pool,
        max_waiting=2 * task.threads,  # who has just been served may still be counted
    )


if __name__ == "__main__":
    print(main(Task(**json.loads(sys.stdin.read()))))
