"""The log as it grows: one `Watch` after the other, without gap or repeat.

    watching ──lost or silent──▶ waiting (longer each time) ──▶ watching after the last position

Ends only when it is cancelled, when the key is refused, or when the log is another one than before.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final

from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from kernel.backoff import delay_s
from kernel.errors import Overloaded, StateForbids, Unavailable

from eventflows_cli.calls import Calls
from eventflows_cli.log_pages import Filter

SILENCE_MAX_S: Final = 10.0
"""The registry sends a heartbeat every second or oftener; after this long it is taken for dead."""
BACKOFF_FIRST_S: Final = 0.1
BACKOFF_LONGEST_S: Final = 5.0


async def follow(
    calls: Calls, wanted: Filter, *, after: int, say: Callable[[str], None]
) -> AsyncGenerator[Sequence[events_pb2.RecordedEvent], None]:
    """Events after a position, for ever; `say` hears when the registry is away and when it is back.

    Raises kernel errors but Unavailable and Overloaded; StateForbids when the log is another one.
    """
    failures = 0
    while True:
        try:
            async with aclosing(_watch(calls, wanted, after)) as batches:
                async for batch in batches:
                    if failures:
                        say(f"the registry is back; going on after position {after}")
                        failures = 0
                    after = batch.to_position
                    if batch.events:
                        yield batch.events
        except (Unavailable, Overloaded) as error:
            if failures == 0:
                say(f"{error.message}; waiting for it")
            failures += 1
        wait_s = delay_s(
            failures, first_s=BACKOFF_FIRST_S, longest_s=BACKOFF_LONGEST_S, random=random.random
        )
        await asyncio.sleep(wait_s)


async def _watch(calls: Calls, wanted: Filter, after: int) -> AsyncGenerator[pb.WatchBatch, None]:
    answers = calls.stream(calls.stub.Watch, wanted.watch(after), silence_max_s=SILENCE_MAX_S)
    async with aclosing(answers) as batches:
        async for batch in batches:
            if batch.head_position < after:
                raise StateForbids(
                    f"the log ends at position {batch.head_position}, before {after} that was "
                    "read: it was replaced by another log; start again"
                )
            if batch.from_position != after:
                raise RuntimeError(f"a batch after {batch.from_position} came, not after {after}")
            after = batch.to_position
            yield batch
    raise Unavailable("the registry ended the stream")
