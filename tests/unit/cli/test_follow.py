"""Following a log: without gap or repeat, whatever happens to the registry. In a script's words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any, cast

import pytest
from eventflows.events.v1 import events_pb2
from eventflows.registry.v1 import registry_pb2 as pb
from eventflows_cli import follow as following
from eventflows_cli.calls import Calls
from eventflows_cli.kinds import Kind
from eventflows_cli.log_pages import Filter
from kernel.errors import NotAllowed, Overloaded, StateForbids, Unavailable

AWAY = Unavailable("the registry cannot be reached")
Script = Sequence[pb.WatchBatch | Exception]


class ScriptedCalls:
    """Each `Watch` plays the next script; the last one goes on silently."""

    def __init__(self, *scripts: Script) -> None:
        self.stub = self
        self.Watch = "Watch"
        self.asked: list[pb.WatchRequest] = []
        self._scripts = iter(scripts)

    async def stream(
        self, _method: object, request: pb.WatchRequest, *, silence_max_s: float
    ) -> AsyncGenerator[pb.WatchBatch, None]:
        assert silence_max_s == following.SILENCE_MAX_S
        self.asked.append(request)
        for step in next(self._scripts):
            if isinstance(step, Exception):
                raise step
            yield step


def batch(from_: int, to: int, head: int | None = None) -> pb.WatchBatch:
    events = [events_pb2.RecordedEvent(position=each) for each in range(from_ + 1, to + 1)]
    return pb.WatchBatch(
        from_position=from_, to_position=to, head_position=head or to, events=events
    )


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits that a test need not sit through, as they were asked for.

    Of this module alone: whoever else waits in this process would go round for ever.
    """
    waited: list[float] = []

    async def sleep(delay: float) -> None:
        waited.append(delay)

    monkeypatch.setattr(following, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": sleep}))
    return waited


async def followed(
    calls: ScriptedCalls, count: int, *, after: int = 0, say: Callable[[str], None] = lambda _: None
) -> list[int]:
    """Positions of the first `count` events."""
    found: list[int] = []
    pages = following.follow(cast(Calls, calls), Filter(), after=after, say=say)
    async with asyncio.timeout(10), aclosing(pages):
        async for page in pages:
            found += [event.position for event in page]
            if len(found) >= count:
                break
    return found


async def test_it_goes_on_after_the_last_position_when_the_stream_breaks() -> None:
    calls = ScriptedCalls([batch(5, 7), AWAY], [AWAY], [batch(7, 7), batch(7, 9)])
    assert await followed(calls, 4, after=5) == [6, 7, 8, 9]
    assert [request.after_position for request in calls.asked] == [5, 7, 7]


async def test_a_stream_that_ends_is_opened_again() -> None:
    calls = ScriptedCalls([batch(0, 1)], [batch(1, 2)])
    assert await followed(calls, 2) == [1, 2]


async def test_it_says_once_that_the_registry_is_away_and_once_that_it_is_back() -> None:
    said: list[str] = []
    calls = ScriptedCalls([AWAY], [AWAY], [AWAY], [batch(0, 0, 3), batch(0, 3)])
    assert await followed(calls, 3, say=said.append) == [1, 2, 3]
    assert said == [
        "the registry cannot be reached; waiting for it",
        "the registry is back; going on after position 0",
    ]


async def test_it_waits_longer_each_time_but_never_above_the_limit(no_waits: list[float]) -> None:
    calls = ScriptedCalls(*[[AWAY]] * 40, [batch(0, 1)])
    await followed(calls, 1)
    assert len(no_waits) == 40
    assert max(no_waits) <= following.BACKOFF_LONGEST_S


async def test_too_many_watchers_are_waited_for_too() -> None:
    calls = ScriptedCalls([Overloaded("too many watchers", retry_after_s=5)], [batch(0, 1)])
    assert await followed(calls, 1) == [1]


async def test_ranges_without_matching_events_are_passed_over() -> None:
    quiet = pb.WatchBatch(from_position=0, to_position=500, head_position=501)
    calls = ScriptedCalls([quiet, AWAY], [batch(500, 501)])
    assert await followed(calls, 1) == [501]
    assert calls.asked[-1].after_position == 500


async def test_a_log_that_became_shorter_is_another_one() -> None:
    calls = ScriptedCalls([batch(0, 9), AWAY], [batch(3, 3, 3)])
    with pytest.raises(StateForbids, match="ends at position 3, before 9"):
        await followed(calls, 10)


async def test_a_gap_is_never_passed_on() -> None:
    calls = ScriptedCalls([batch(0, 2), batch(3, 4)])
    with pytest.raises(RuntimeError, match="after 3 came, not after 2"):
        await followed(calls, 4)


async def test_a_refused_key_ends_it() -> None:
    calls = ScriptedCalls([NotAllowed("no")])
    with pytest.raises(NotAllowed):
        await followed(calls, 1)


def test_a_filter_goes_along_with_every_request() -> None:
    wanted: Any = Filter(kinds=(Kind.FLOW,), stream_ids=("s",))
    for request in (wanted.watch(3), wanted.page(limit=5)):
        assert list(request.kinds) == [Kind.FLOW.number]
        assert list(request.stream_ids) == ["s"]
