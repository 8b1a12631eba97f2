"""A process that appends to streams which others append to as well: `python -m` this module.

Reads its task as JSON from standard input; prints what was acknowledged as JSON lines, one a
command: `[command id, stream id, version, position]`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from registry.adapters.postgres_event_store import PostgresEventStore
from registry.application.group_commit import GroupCommit
from registry.ports.event_store import Status

from tests.support.appending import group_commit_over
from tests.support.registry import append_of

Acknowledged = tuple[str, str, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """`commands` is for each of the writers; each goes on where a conflict says the stream is."""

    dsn: str
    stream_ids: Sequence[str]
    writers: int
    commands: int

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()


async def main(task: Task) -> Sequence[Acknowledged]:
    """All writers to their end."""
    async with (
        PostgresEventStore(task.dsn) as store,
        group_commit_over(store) as group_commit,
    ):
        written = await asyncio.gather(
            *(_write(group_commit, task, number) for number in range(task.writers))
        )
    return [one for acknowledged in written for one in acknowledged]


async def _write(group_commit: GroupCommit, task: Task, number: int) -> Sequence[Acknowledged]:
    acknowledged: list[Acknowledged] = []
    known = dict.fromkeys(task.stream_ids, 0)
    while len(acknowledged) < task.commands:
        stream_id = task.stream_ids[(number + len(acknowledged)) % len(task.stream_ids)]
        item = append_of(1, stream_id=stream_id, expected_version=known[stream_id])
        outcome = await group_commit.append(item)
        known[stream_id] = outcome.version
        if outcome.status is Status.STORED:
            acknowledged.append((item.command_id, stream_id, outcome.version, outcome.position))
    return acknowledged


async def acknowledged_by_process(task: Task) -> Sequence[Acknowledged]:
    """Run the task in a process of its own; what it says was acknowledged."""
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.append_process",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await run.communicate(task.to_json())
    assert run.returncode == 0
    return [tuple(json.loads(line)) for line in output.splitlines()]


if __name__ == "__main__":
    for one in asyncio.run(main(Task(**json.loads(sys.stdin.read())))):
        print(json.dumps(one))
