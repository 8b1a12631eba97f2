"""router.v1: the questions about dead letters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from catalog import codec
from catalog.events import DeadLetterSelection
from eventflows.router.v1 import router_pb2
from eventflows.router.v1.router_pb2_grpc import RouterServicer
from google.protobuf.timestamp_pb2 import Timestamp
from kernel.errors import InvalidInput, NotFound, StateForbids

from router.application.dead_letter_desk import DeadLetterDesk, WholeLetter
from router.application.dead_letter_tasks import DeadLetterTasks
from router.domain.dead_letter import HEADER_PREFIX, HISTORY_BYTES_MAX
from router.domain.dead_letter_query import LetterQuery, key_of_token, page_key, parsed_id, token_of
from router.domain.dead_letter_record import Letter, LetterState, original_of
from router.domain.delivery import Delivery, Headers

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 500
ID_CHARACTERS_MAX: Final = 128
ANSWER_BYTES_MAX: Final = 3 * 1024 * 1024
"""Of a page of letters: a message of ours has at most 4 MiB."""
VALUE_BYTES_MAX: Final = 24 * 1024 * 1024
"""Of the one letter that is shown whole, the largest record that we carry; such a message has at
most 32 MiB."""
HEADERS_BYTES_MAX: Final = 256 * 1024
KEY_BYTES_MAX: Final = 256 * 1024
ERROR_CHARACTERS_MAX: Final = 4_096
NO_INDEX: Final = (
    "This cluster keeps no index of dead letters: give the routers a database with the setting "
    "EVENTFLOWS_ROUTER_DEAD_LETTER_DSN_FILE."
)
_UNSPECIFIED: Final = router_pb2.DEAD_LETTER_STATE_UNSPECIFIED
_OPEN: Final = router_pb2.DEAD_LETTER_STATE_OPEN
_STATES: Final = {
    LetterState.OPEN: router_pb2.DEAD_LETTER_STATE_OPEN,
    LetterState.REDRIVEN: router_pb2.DEAD_LETTER_STATE_REDRIVEN,
    LetterState.DIED_AGAIN: router_pb2.DEAD_LETTER_STATE_REDRIVEN,
    LetterState.PURGED: router_pb2.DEAD_LETTER_STATE_PURGED,
}


T = TypeVar("T")


class DeadLetterRpc(RouterServicer):
    """A part of the servicer. Without an index each raises StateForbids that says what to set."""

    def __init__(self, desk: DeadLetterDesk | None, tasks: DeadLetterTasks | None) -> None:
        self._letters = desk
        self._tasks = tasks

    async def ListDeadLetters(  # noqa: N802
        self, request: router_pb2.ListDeadLettersRequest, context: Any
    ) -> router_pb2.ListDeadLettersResponse:
        """Raises InvalidInput, Unavailable; of an own topic NotFound, StateForbids, NotAllowed."""
        query = _query(request.flow_id, request, states=_states(request.state))
        if not 0 <= request.page_size <= PAGE_MAX:
            raise InvalidInput(f"A page has 1 to {PAGE_MAX} letters; 0 means {PAGE_DEFAULT}.")
        ask = self._desk.own_page if request.own_topic else self._desk.page
        page = await ask(
            query,
            below=key_of_token(request.page_token),
            letters_max=request.page_size or PAGE_DEFAULT,
        )
        answer = router_pb2.ListDeadLettersResponse(truncated=page.truncated)
        size_bytes, below = 0, page.below
        for letter in page.letters:
            message = _message(letter, page.topic)
            size_bytes += message.ByteSize()
            if size_bytes > ANSWER_BYTES_MAX:
                break
            answer.letters.append(message)
            below = page_key(letter)
        if page.below is not None or len(answer.letters) < len(page.letters):
            answer.next_page_token = token_of(below) if below is not None else ""
        return answer

    async def GetDeadLetter(  # noqa: N802
        self, request: router_pb2.GetDeadLetterRequest, context: Any
    ) -> router_pb2.GetDeadLetterResponse:
        """Raises as ListDeadLetters, and NotFound."""
        letter_id = parsed_id(request.letter_id)
        if request.own_topic:
            return _whole(await self._desk.own_whole(_checked(request.flow_id), letter_id))
        return _whole(await self._desk.whole(letter_id))

    async def CountDeadLetters(  # noqa: N802
        self, request: router_pb2.CountDeadLettersRequest, context: Any
    ) -> router_pb2.CountDeadLettersResponse:
        """Open letters. Raises as ListDeadLetters."""
        query = _query(request.flow_id, request, states=frozenset({LetterState.OPEN}))
        if request.own_topic:
            letters, truncated = await self._desk.own_count(query)
            return router_pb2.CountDeadLettersResponse(letters=letters, truncated=truncated)
        return router_pb2.CountDeadLettersResponse(letters=await self._desk.count(query))

    async def GetDeadLetterTask(  # noqa: N802
        self, request: router_pb2.GetDeadLetterTaskRequest, context: Any
    ) -> router_pb2.DeadLetterTaskProgress:
        """Raises NotFound."""
        tasks, task_id = self._needed(self._tasks), _checked(request.dead_letter_task_id)
        progress = tasks.local(task_id) if request.local_only else await tasks.progress(task_id)
        if progress is None:
            raise NotFound("This worker does nothing for this task.")
        return router_pb2.DeadLetterTaskProgress(
            dead_letter_task_id=progress.task_id,
            state=progress.state,
            reason=progress.reason,
            succeeded=progress.succeeded,
            failed=progress.failed,
            left=progress.left,
            worker=progress.worker,
        )

    @property
    def _desk(self) -> DeadLetterDesk:
        return self._needed(self._letters)

    @staticmethod
    def _needed(part: T | None) -> T:
        if part is None:
            raise StateForbids(NO_INDEX)
        return part


def _query(
    flow_id: str,
    request: router_pb2.ListDeadLettersRequest | router_pb2.CountDeadLettersRequest,
    *,
    states: frozenset[LetterState],
) -> LetterQuery:
    try:
        selection = codec.read(DeadLetterSelection, request.selection)
    except (ValueError, OverflowError) as error:
        raise InvalidInput("The selection cannot be read.") from error
    return LetterQuery(flow_id=_checked(flow_id), selection=selection, states=states).checked()


def _checked(text: str) -> str:
    if len(text) > ID_CHARACTERS_MAX:
        raise InvalidInput(f"An id has at most {ID_CHARACTERS_MAX} characters.")
    return text


def _states(asked: int) -> frozenset[LetterState]:
    wanted = asked if asked != _UNSPECIFIED else _OPEN
    states = frozenset(state for state, message in _STATES.items() if message == wanted)
    if not states:
        raise InvalidInput("This state of dead letters is not known.")
    return states


def _message(letter: Letter, topic: str) -> router_pb2.DeadLetter:
    return router_pb2.DeadLetter(
        letter_id=str(letter.letter_id),
        letter_topic=topic,
        flow_id=letter.flow_id,
        algorithm=letter.algorithm,
        algorithm_version=letter.version,
        topic=letter.topic,
        partition=letter.source_partition,
        offset=letter.source_offset,
        record_time=_timestamp_ms(letter.record_time_ms),
        record_key=letter.key or b"",
        has_key=letter.key is not None,
        value_bytes=letter.value_bytes,
        reason=letter.reason or letter.failure.value,
        error_type=letter.error_type,
        error=letter.error,
        attempts=letter.attempts,
        first_time=_timestamp(letter.first_time),
        given_up_time=_timestamp(letter.given_up_time),
        request_id=letter.request_id,
        generation=letter.generation,
        state=_STATES[letter.state],
        state_time=None if letter.state_time is None else _timestamp(letter.state_time),
        dead_letter_task_id=letter.task_id,
    )


def _whole(whole: WholeLetter) -> router_pb2.GetDeadLetterResponse:
    original = original_of(whole.record)
    message = _message(whole.letter, whole.record.topic)
    message.record_key = (original.key or b"")[:KEY_BYTES_MAX]
    error = whole.record.header(HEADER_PREFIX + "error") or b""
    message.error = error.decode("utf-8", "replace")[:ERROR_CHARACTERS_MAX]
    value, headers = original.value or b"", _headers(original.headers)
    return router_pb2.GetDeadLetterResponse(
        letter=message,
        value=value[:VALUE_BYTES_MAX],
        has_value=original.value is not None,
        headers=headers,
        history=_history(whole.record),
        truncated=len(value) > VALUE_BYTES_MAX or len(headers) < len(original.headers),
    )


def _headers(headers: Headers) -> list[router_pb2.RecordHeader]:
    """As many as an answer has room for."""
    shown, size_bytes = [], 0
    for name, value in headers:
        header = router_pb2.RecordHeader(name=name, value=value or b"")
        size_bytes += header.ByteSize()
        if size_bytes > HEADERS_BYTES_MAX:
            break
        shown.append(header)
    return shown


def _history(record: Delivery) -> Iterable[router_pb2.FailedAttempt]:
    """What can be read of it: in a customer's topic it may be anything."""
    text = record.header(HEADER_PREFIX + "history") or b"[]"
    if len(text) > HISTORY_BYTES_MAX:
        return
    try:
        for line in json.loads(text):
            yield router_pb2.FailedAttempt(
                attempt=int(line["attempt"]),
                at=_timestamp(datetime.fromisoformat(line["at"])),
                outcome=str(line["outcome"]),
                error=str(line["error"]),
            )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return


def _timestamp(time: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(time.astimezone(UTC).replace(tzinfo=None))
    return message


def _timestamp_ms(milliseconds: int) -> Timestamp | None:
    """None for a record without a time, and for one that no calendar has."""
    message = Timestamp()
    try:
        message.FromMilliseconds(milliseconds)
    except ValueError:
        return None
    return message if milliseconds >= 0 else None
