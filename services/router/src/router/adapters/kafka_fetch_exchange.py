"""One fetch and its answer, over a connection of aiokafka's.

Reaches into private parts of aiokafka 0.14 (pinned), for two reasons that were measured (ADR 0017):

* its client and its connection spend more on a request (a coroutine for each of four layers, a
  timeout's task machinery, a tree of field types) than we spend on the record that it brings;
* what the answer brings is told in the same step in which it is read, not in a task's next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from io import BytesIO
from typing import Any, Final, NamedTuple

from aiokafka.client import ConnectionGroup
from aiokafka.conn import CloseReason
from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError, KafkaError

from router.adapters.kafka_fetch_session import (
    CORRELATION_BYTES,
    FETCH_KEY,
    VERSION_MAX,
    VERSION_MIN,
    FetchAnswer,
    framed,
    read_answer,
)

Arrived = Callable[[FetchAnswer], None]
NO_VERSIONS: Final = (0, 0)


class _AnswerHeader(NamedTuple):
    correlation_id: int


class _Question:
    """What aiokafka's connection keeps of a request until its answer comes."""

    API_KEY: Final = FETCH_KEY

    def __init__(self, version: int, arrived: Arrived) -> None:
        self.RESPONSE_TYPE = self
        self._version = version
        self._arrived = arrived

    def parse_response_header(self, data: BytesIO) -> _AnswerHeader:
        return _AnswerHeader(int.from_bytes(data.getvalue()[:CORRELATION_BYTES]))

    def decode(self, data: BytesIO) -> None:
        self._arrived(read_answer(data.getvalue(), version=self._version, begin=CORRELATION_BYTES))


async def exchange(
    client: Any, node_id: int, body: Callable[[int], bytes], arrived: Arrived, *, timeout_s: float
) -> None:
    """Ask a broker; `body` makes the request for a version, `arrived` is told of the answer.

    After a cancellation or an error an answer may still come: `arrived` is not told of it. Raises
    aiokafka's errors, KafkaConnectionError when no answer comes in time, and what `arrived` or
    reading the answer raised: asking again would not mend that.
    """
    connection = await client._get_conn(node_id)
    if connection is None or connection._writer is None:
        raise KafkaConnectionError(f"no connection to broker {node_id}")
    lowest, highest = connection._versions.get(FETCH_KEY, NO_VERSIONS)
    version = min(highest, VERSION_MAX)
    if version < max(lowest, VERSION_MIN):
        raise IncompatibleBrokerVersion(f"broker {node_id} fetches by versions up to {highest}")
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[None] = loop.create_future()
    correlation_id = connection._next_correlation_id()
    request = framed(
        body(version),
        version=version,
        correlation_id=correlation_id,
        client_id=connection._client_id.encode(),
    )
    try:
        connection._writer.write(request)
    except (OSError, RuntimeError) as error:  # uvloop's word for a transport that has closed
        raise KafkaConnectionError(f"the connection to broker {node_id} has closed") from error
    connection._requests.append((correlation_id, _Question(version, arrived), answered))
    timer = loop.call_later(timeout_s, connection.close, CloseReason.CONNECTION_TIMEOUT)
    try:
        await answered
    except KafkaConnectionError as error:
        cause = error.__cause__
        if cause is None or isinstance(cause, (OSError, EOFError, KafkaError)):
            raise
        raise cause from None  # of reading the answer: aiokafka closes the connection over it
    finally:
        timer.cancel()


def break_off(client: Any) -> None:
    """End the fetches that wait at a broker: they would stand in the way of whatever is asked next
    on their connections, which are closed where nothing else waits."""
    for (_, group), connection in tuple(client._conns.items()):
        waiting = connection._requests
        if group is not ConnectionGroup.DEFAULT or not waiting:
            continue
        if all(request.API_KEY == FETCH_KEY for _, request, _ in waiting):
            for _, _, answer in waiting:
                answer.cancel()  # aiokafka takes that in silence; a closed connection it logs
            writer = connection._writer
            connection.close(reason=CloseReason.SHUTDOWN)
            writer.transport.abort()  # TLS would wait for the broker to say good-bye
