"""Our HTTP client against a server that breaks every rule, by script."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from router.adapters.http_answer import AnswerLimits, HttpAnswer
from router.adapters.http_client import HttpPool, PoolLimits
from router.adapters.http_connection import ConnectionLimits, HttpConnection, NoAnswer, NotSent

from tests.integration.router_http.conftest import Scenario
from tests.support.http_scripts import OK, Peer, Script, always_ok, head_of, scripted

Play = Callable[[Scenario], None]
ANSWER = AnswerLimits(head_bytes_max=4_096, body_bytes_max=50_000)
CONNECTION = ConnectionLimits(answer=ANSWER, continue_wait_s=0.2, continue_body_bytes=100_000)
LIMITS = PoolLimits(connection=CONNECTION, connect_s=2, wait_s=0.3)
LARGE = bytes(8_000_000)
FAULTS = ["slow", "silent", "reset", "cut", "twice", "close"]


@asynccontextmanager
async def against(*scripts: Script, limits: PoolLimits = LIMITS) -> AsyncIterator[HttpPool]:
    """A pool to a scripted server. Whatever happened: at the end no connection is left anywhere."""
    async with scripted(*scripts) as server:
        pool = HttpPool(server.origin, limits=limits)
        try:
            yield pool
        finally:
            await pool.close()
            assert (pool.open_count, pool.idle_count, pool.waiting_count) == (0, 0, 0)
            await server.until_all_closed()


async def post(pool: HttpPool, body: bytes = b"x", *, timeout_s: float = 10.0) -> HttpAnswer:
    return await pool.call(head_of(pool, "/", len(body)), body, timeout_s=timeout_s)


def says(*pieces: bytes, then: Callable[[Peer], None] | None = None) -> Script:
    """Read one request, send the pieces, and wait until the client closes."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(*pieces)
        if then is not None:
            then(peer)
        await peer.until_closed()

    return script


def byte_by_byte(text: bytes) -> list[bytes]:
    return [text[at : at + 1] for at in range(len(text))]


@pytest.mark.parametrize(
    ("pieces", "status", "body"),
    [
        (byte_by_byte(OK), 200, b"ok"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK], 200, b"ok"),
        ([b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 3 + OK], 200, b"ok"),
        (
            [
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"1\r\no\r\n",
                b"1;ext=1\r\nk\r\n0\r\nX-Trailer: 1\r\n\r\n",
            ],
            200,
            b"ok",
        ),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], 204, b""),
        ([b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"], 304, b""),
        ([b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"], 302, b""),
    ],
)
def test_an_answer_is_read_and_its_connection_serves_again(
    play: Play, pieces: list[bytes], status: int, body: bytes
) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.say(*pieces)

    async def scenario() -> None:
        async with against(script) as pool:
            for _ in range(2):
                answer = await post(pool)
                assert (answer.status, answer.body) == (status, body)
                assert (pool.open_count, pool.idle_count) == (1, 1)

    play(scenario())


def test_trailers_change_no_header(play: Play) -> None:
    """Else whoever writes the body could overrule what the runner said of the run."""
    chunked = b"HTTP/1.1 200 OK\r\nX-Outcome: failed\r\nTransfer-Encoding: chunked\r\n\r\n"
    trailer = b"0\r\nX-Outcome: succeeded\r\n\r\n"

    async def scenario() -> None:
        async with against(says(chunked + trailer)) as pool:
            assert (await post(pool)).headers[b"x-outcome"] == b"failed"

    play(scenario())


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.0 200 OK\r\n\r\nok"],
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"o", b"k"],
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"],
    ],
)
def test_an_answer_before_a_close_is_whole_and_the_connection_is_not_used_again(
    play: Play, pieces: list[bytes]
) -> None:
    async def scenario() -> None:
        async with against(says(*pieces, then=Peer.half_close)) as pool:
            for _ in range(2):
                assert (await post(pool)).body == b"ok"
                assert pool.open_count == 0

    play(scenario())


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"HTTP/1.1 200 OK\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxx"],
        [b"HTTP/1.1 100 Continue\r\n\r\n"],
    ],
)
@pytest.mark.parametrize("end", [Peer.half_close, Peer.reset])
def test_a_connection_that_ends_before_the_answer_does_is_no_answer(
    play: Play, pieces: list[bytes], end: Callable[[Peer], None]
) -> None:
    async def scenario() -> None:
        async with against(says(*pieces, then=end), always_ok) as pool:
            with pytest.raises(NoAnswer):
                await post(pool)
            assert pool.open_count == 0
            assert (await post(pool)).body == b"ok"

    play(scenario())


@pytest.mark.parametrize(
    "text",
    [
        b"garbage\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded: c\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000 + b"\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"Content-Length: 2\r\n\r\nok",
        b"HTTP/1.1 103 Early\r\nX: 1\r\n\r\n" * 200 + OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"x" * 99_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 99_000,
    ],
)
def test_what_is_no_answer_within_the_limits_ends_the_call_and_the_connection(
    play: Play, text: bytes
) -> None:
    async def scenario() -> None:
        async with against(says(text), always_ok) as pool:
            with pytest.raises(NoAnswer, match=r"proper HTTP answer|protocol|too long"):
                await post(pool)
            assert pool.open_count == 0
            assert (await post(pool)).body == b"ok"

    play(scenario())


@pytest.mark.parametrize("head", [b"Content-Length: 9999999", b"Transfer-Encoding: chunked"])
def test_a_body_longer_than_any_may_be_is_cut_and_its_connection_closed(
    play: Play, head: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n" + head + b"\r\n\r\n")
        while True:  # for ever, until the client closes
            await peer.say(b"2710\r\n" + bytes(10_000) + b"\r\n")

    async def scenario() -> None:
        async with against(script) as pool:
            answer = await post(pool)
            assert (answer.status, answer.is_cut, answer.headers[b"x-a"]) == (200, True, b"1")
            assert pool.open_count == 0

    play(scenario())


@pytest.mark.parametrize("extra", [OK, b"HTTP/1.1 5", b"garbage", b"HTTP/1.1 103 E\r\n\r\n"])
def test_a_second_answer_to_one_request_reaches_nobody(play: Play, extra: bytes) -> None:
    async def scenario() -> None:
        async with against(says(OK + extra), always_ok) as pool:
            assert (await post(pool)).body == b"ok"
            assert pool.open_count == 0, "a connection that is out of step is closed"
            assert (await post(pool)).body == b"ok"

    play(scenario())


def test_bytes_on_an_idle_connection_reach_nobody(play: Play) -> None:
    """An answer that was sent before its request is somebody's attempt to answer for the server."""
    poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    told = asyncio.Event()

    async def poisoner(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        await told.wait()
        await peer.say(poison)
        await peer.until_closed()

    async def scenario() -> None:
        async with against(poisoner, always_ok) as pool:
            assert (await post(pool)).body == b"ok"
            told.set()
            while pool.open_count:  # closed as soon as the bytes come
                await asyncio.sleep(0)
            assert (await post(pool)).body == b"ok"

    play(scenario())


def test_a_server_that_never_answers_is_given_up_in_time(play: Play) -> None:
    async def scenario() -> None:
        async with against(says(), always_ok) as pool:
            with pytest.raises(NoAnswer, match="no answer in time"):
                await post(pool, timeout_s=0.2)
            assert pool.open_count == 0
            assert (await post(pool)).body == b"ok"

    play(scenario())


def test_an_answer_that_trickles_is_bounded_by_the_whole_calls_time(play: Play) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        while True:
            await peer.say(b"x")
            await asyncio.sleep(0.01)

    async def scenario() -> None:
        async with against(script) as pool:
            with pytest.raises(NoAnswer, match="no answer in time"):
                await post(pool, timeout_s=0.3)

    play(scenario())


def test_a_server_that_closes_an_idle_connection_costs_no_call(play: Play) -> None:
    """The kernel is asked before each use, so the close need not have reached the loop."""

    async def once(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)

    async def scenario() -> None:
        async with scripted(once) as server:
            pool = HttpPool(server.origin)
            for _ in range(20):
                assert (await post(pool)).body == b"ok"
                await server.until_all_closed()
                time.sleep(0.002)  # noqa: ASYNC251  the loop shall learn nothing meanwhile
            await pool.close()

    play(scenario())


def test_a_used_connection_that_ends_without_an_answer_is_told_and_not_tried_again(
    play: Play,
) -> None:
    """A POST may have had its effect: whether to repeat it is the flow's to say."""
    requests: list[bytes] = []

    async def script(peer: Peer) -> None:
        requests.append((await peer.request())[1])
        await peer.say(OK)
        requests.append((await peer.request())[1])

    async def scenario() -> None:
        async with against(script, always_ok) as pool:
            await post(pool, b"first")
            with pytest.raises(NoAnswer):
                await post(pool, b"second")
            assert requests == [b"first", b"second"]

    play(scenario())


def test_a_large_body_waits_for_continue_and_not_for_ever(play: Play) -> None:
    async def polite(peer: Peer) -> None:
        head = await peer.head()
        assert b"Expect: 100-continue\r\n" in head
        await peer.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await peer.reader.readexactly(len(LARGE)) == LARGE
        await peer.say(OK)
        await peer.until_closed()

    async def ignorant(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        await peer.until_closed()

    async def scenario() -> None:
        for script in (polite, ignorant):
            async with against(script) as pool:
                assert (await post(pool, LARGE)).body == b"ok"
                assert pool.idle_count == 1

    play(scenario())


def test_a_refusal_of_a_large_body_comes_before_it_is_sent(play: Play) -> None:
    sent_on: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        sent_on.append(await peer.reader.read(1))

    async def scenario() -> None:
        async with against(script) as pool:
            assert (await post(pool, LARGE)).status == 413
            assert pool.open_count == 0
        assert sent_on == [b""]

    play(scenario())


def test_a_server_that_expects_nothing_is_not_asked_again(play: Play) -> None:
    async def fails(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        await peer.until_closed()

    async def takes(peer: Peer) -> None:
        head, _ = await peer.request()
        assert b"Expect" not in head
        await peer.say(OK)
        await peer.until_closed()

    async def scenario() -> None:
        async with against(fails, takes) as pool:
            assert (await post(pool, LARGE)).status == 417
            assert (await post(pool, LARGE)).body == b"ok"

    play(scenario())


def test_an_early_answer_ends_the_sending(play: Play) -> None:
    """A server that refuses in the middle of a body is heard, and the rest is not sent."""
    patient = replace(LIMITS, connection=replace(CONNECTION, continue_body_bytes=10**9))

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.reader.readexactly(1_000)
        await peer.say(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        await peer.until_closed()

    async def scenario() -> None:
        async with against(script, limits=patient) as pool:
            assert (await post(pool, LARGE * 4)).status == 503
            assert pool.open_count == 0

    play(scenario())


@pytest.mark.parametrize("end", [Peer.half_close, Peer.reset])
def test_a_body_that_was_not_sent_whole_cannot_have_had_an_effect(
    play: Play, end: Callable[[Peer], None]
) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        end(peer)
        if end is Peer.half_close:
            await asyncio.sleep(0.05)

    async def scenario() -> None:
        async with against(script) as pool:
            with pytest.raises(NotSent):
                await post(pool, LARGE)
            assert pool.open_count == 0

    play(scenario())


def test_a_server_that_reads_nothing_gets_no_more_than_its_buffers_hold(play: Play) -> None:
    patient = replace(LIMITS, connection=replace(CONNECTION, continue_body_bytes=10**9))

    async def scenario() -> None:
        may_end = asyncio.Event()

        async def script(peer: Peer) -> None:
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it has it
            await may_end.wait()

        async with against(script, limits=patient) as pool:
            with pytest.raises(NotSent, match="no answer in time"):
                await post(pool, LARGE * 4, timeout_s=0.3)
            may_end.set()

    play(scenario())


class Refusing:
    """A transport of uvloop's that closed while nobody looked: it raises at the next write."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    @classmethod
    def in_place_of(cls, connection: Any) -> None:
        connection._transport = cls(connection._transport)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        raise RuntimeError("unable to perform operation on a closed transport")


def test_a_request_that_was_held_up_for_too_long_is_not_sent(play: Play) -> None:
    """Whoever was frozen may not be the owner any more, and has to ask before it sends."""

    async def scenario() -> None:
        async with against(always_ok, limits=replace(LIMITS, stay_s=0.0)) as pool:
            with pytest.raises(NotSent, match="stood still"):
                await post(pool)
            assert pool.open_count == 0

    play(scenario())


@pytest.mark.parametrize(
    ("happens", "error"),
    [
        (lambda connection, call: call.cancel(), asyncio.CancelledError),
        (lambda connection, call: connection.data_received(OK), NotSent),
        (lambda connection, call: connection.eof_received(), NotSent),
        (lambda connection, call: connection.connection_lost(OSError()), NotSent),
        (lambda connection, call: connection._transport.close(), NotSent),
        (lambda connection, call: Refusing.in_place_of(connection), NotSent),
    ],
)
def test_what_happens_before_a_request_leaves_keeps_it_from_leaving(
    play: Play,
    happens: Callable[[HttpConnection, asyncio.Task[HttpAnswer]], object],
    error: type[BaseException],
) -> None:
    bodies = []

    async def noting(peer: Peer) -> None:
        while True:
            bodies.append((await peer.request())[1])
            await peer.say(OK)

    async def scenario() -> None:
        async with against(noting) as pool:
            await post(pool, b"first")
            (connection,) = pool._open
            call = asyncio.create_task(post(pool, b"second"))
            while pool.idle_count:
                await asyncio.sleep(0)
            happens(connection, call)
            (result,) = await asyncio.gather(call, return_exceptions=True)
            assert type(result) is error
            assert pool.open_count == 0
            await post(pool, b"third")
        assert bodies == [b"first", b"third"]

    play(scenario())


def test_a_cancelled_call_takes_its_connection_along(play: Play) -> None:
    """Its answer would be taken for the next call's."""
    asked = asyncio.Event()

    async def late(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.until_closed()

    async def scenario() -> None:
        async with against(late, always_ok) as pool:
            calling = asyncio.create_task(post(pool))
            await asked.wait()
            calling.cancel()
            await asyncio.wait({calling})
            assert calling.cancelled()
            assert pool.open_count == 0
            assert (await post(pool)).body == b"ok"

    play(scenario())


def test_nobody_there_is_told_as_not_sent(play: Play) -> None:
    async def scenario() -> None:
        with socket.socket() as taken:  # bound and not listening: refused
            taken.bind(("127.0.0.1", 0))
            pool = HttpPool(f"http://127.0.0.1:{taken.getsockname()[1]}", limits=LIMITS)
            for _ in range(2):
                with pytest.raises(NotSent, match="no connection"):
                    await post(pool)
            assert pool.open_count == 0
            await pool.close()
        for name in ("no-such-host.invalid", "x" * 70):
            pool = HttpPool(f"http://{name}", limits=LIMITS)
            with pytest.raises(NotSent, match="no connection"):
                await post(pool)
            await pool.close()

    play(scenario())


def test_a_host_that_takes_no_connection_is_given_up_in_time(play: Play) -> None:
    async def scenario() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            with socket.socket() as one, socket.socket() as two:  # its queue is full now
                for filler in (one, two):
                    filler.setblocking(False)
                    filler.connect_ex(full.getsockname())
                limits = replace(LIMITS, connect_s=0.2)
                pool = HttpPool(f"http://127.0.0.1:{full.getsockname()[1]}", limits=limits)
                with pytest.raises(NotSent, match="no connection in time"):
                    await post(pool)
                assert pool.open_count == 0
                await pool.close()

    play(scenario())


def test_a_full_pool_makes_calls_wait_in_turn_and_not_for_ever(play: Play) -> None:
    may_answer, order = asyncio.Event(), list[bytes]()

    async def script(peer: Peer) -> None:
        while True:
            order.append((await peer.request())[1])
            await may_answer.wait()
            await peer.say(OK)

    async def scenario() -> None:
        limits = replace(LIMITS, connections_max=1, waiters_max=3, wait_s=20)
        async with against(script, limits=limits) as pool:
            calls = [asyncio.create_task(post(pool, b"%d" % number)) for number in range(4)]
            while pool.waiting_count < 3:
                await asyncio.sleep(0)
            with pytest.raises(NotSent, match="3 calls wait"):
                await post(pool)
            calls[2].cancel()
            may_answer.set()
            await asyncio.wait(calls)
            assert order == [b"0", b"1", b"3"]
            assert pool.open_count == 1

    play(scenario())


def test_a_call_that_waits_in_vain_was_not_sent(play: Play) -> None:
    async def scenario() -> None:
        async with against(says(), limits=replace(LIMITS, connections_max=1)) as pool:
            holding = asyncio.create_task(post(pool))
            await asyncio.sleep(0)
            with pytest.raises(NotSent, match="no connection came free"):
                await post(pool)
            holding.cancel()
            await asyncio.wait({holding})

    play(scenario())


def test_connections_are_opened_a_few_at_a_time(play: Play) -> None:
    """However many calls begin at once, a server's queue does not overflow."""

    async def scenario() -> None:
        limits = replace(LIMITS, connecting_max=2, wait_s=20)
        async with against(always_ok, limits=limits) as pool:
            calls = [asyncio.create_task(post(pool)) for _ in range(50)]
            while pool.waiting_count < 48:
                await asyncio.sleep(0)
            assert pool.open_count == 2
            calls[10].cancel()
            await asyncio.wait(calls)
            answers = [call.result().body for call in calls if not call.cancelled()]
            assert answers == [b"ok"] * 49

    play(scenario())


def test_a_call_that_waits_opens_a_connection_instead_of_one_that_broke(play: Play) -> None:
    async def scenario() -> None:
        limits = replace(LIMITS, connections_max=1, wait_s=20)
        async with against(says(then=Peer.reset), always_ok, limits=limits) as pool:
            first, second = await asyncio.gather(post(pool), post(pool), return_exceptions=True)
            assert isinstance(first, NoAnswer)
            assert isinstance(second, HttpAnswer)

    play(scenario())


def test_idle_connections_are_closed_before_servers_do(play: Play) -> None:
    quick = replace(LIMITS, connection=replace(CONNECTION, idle_s=0.1))

    async def scenario() -> None:
        async with against(always_ok, limits=quick) as pool:
            await asyncio.gather(*(post(pool) for _ in range(5)))
            assert pool.idle_count > 0
            while pool.open_count:
                await asyncio.sleep(0.02)

    play(scenario())


def test_a_closed_pool_ends_its_calls_and_takes_no_more(play: Play) -> None:
    asked = asyncio.Event()
    silent = says(then=lambda peer: asked.set())

    async def scenario() -> None:
        async with against(silent, limits=replace(LIMITS, connections_max=1)) as pool:
            sent, waiting = asyncio.create_task(post(pool)), asyncio.create_task(post(pool))
            await asked.wait()
            assert pool.waiting_count == 1
            await pool.close()
            await pool.close()
            results = await asyncio.gather(sent, waiting, return_exceptions=True)
            assert [type(result) for result in results] == [NoAnswer, NotSent]
            with pytest.raises(NotSent, match="closed"):
                await post(pool)

    play(scenario())


def test_whatever_happens_to_many_calls_each_ends_and_none_gets_anothers_answer(
    play: Play,
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    echo = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"

    async def chaotic(peer: Peer) -> None:
        while True:
            body = (await peer.request())[1]
            whole = echo % (len(body), body)
            match chance.choice(["well", "well", "well", *FAULTS]):
                case "slow":
                    await asyncio.sleep(0.01)
                    await peer.say(whole)
                case "silent":
                    await peer.until_closed()
                case "reset":
                    peer.reset()
                case "cut":
                    await peer.say(whole[: len(whole) // 2])
                    return
                case "twice":
                    await peer.say(whole + whole)
                case "close":
                    await peer.say(whole)
                    return
                case _:
                    await peer.say(whole)

    async def caller(pool: HttpPool, number: int) -> str:
        body = b"%d" % number * chance.choice([1, 1, 1, 10_000])
        calling = asyncio.ensure_future(post(pool, body, timeout_s=0.2))
        if chance.random() < 0.1:
            await asyncio.sleep(chance.random() / 50)
            calling.cancel()
        await asyncio.wait({calling})
        if calling.cancelled():
            return "cancelled"
        if calling.exception() is not None:
            assert isinstance(calling.exception(), NoAnswer | NotSent)
            return "failed"
        assert calling.result().body == body
        return "answered"

    async def scenario() -> None:
        limits = replace(LIMITS, connections_max=20, wait_s=20)
        async with against(chaotic, limits=limits) as pool:
            ends = await asyncio.gather(*(caller(pool, number) for number in range(600)))
            assert set(ends) == {"cancelled", "failed", "answered"}
            assert pool.open_count <= 20

    play(scenario())


@pytest.mark.parametrize(
    "origin", ["", "ftp://host", "http://", "http://host/path", "http://u:p@host", "http://h?q=1"]
)
def test_what_is_no_origin_is_refused(play: Play, origin: str) -> None:
    async def scenario() -> None:
        with pytest.raises(ValueError, match="origin"):
            HttpPool(origin)

    play(scenario())
