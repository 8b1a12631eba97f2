"""`gateway.v1.DeadLetters`: with a standard key those of a flow of one's own, else all."""

from __future__ import annotations

from catalog.events import DeadLetterSelection
from eventflows.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from servicekit.server_interceptors import Context

from gateway.application import dead_letter_requests, dead_letter_tasks, dead_letters
from gateway.application.dead_letter_requests import PurgeWish, RedriveWish
from gateway.application.dead_letter_tasks import TaskRecord
from gateway.application.dead_letters import LetterCount
from gateway.application.gateway import Gateway
from gateway.application.moments import told_of
from gateway.domain.letter_selection import selection
from gateway.entrypoints.rpc import letter_messages
from gateway.entrypoints.rpc.authentication import current_caller
from gateway.entrypoints.rpc.requests import (
    Wishes,
    algorithm_if_named,
    asked_as_of,
    expected_version_of,
    page_of,
)


class DeadLettersServicer(gateway_pb2_grpc.DeadLettersServicer):
    """The same application functions as REST's paths of dead letters."""

    def __init__(self, gateway: Gateway, wishes: Wishes) -> None:
        self._gateway = gateway
        self._wishes = wishes

    async def ListDeadLetters(  # noqa: N802
        self, request: gateway_pb2.ListDeadLettersRequest, _context: Context
    ) -> gateway_pb2.ListDeadLettersResponse:
        wanted = dead_letters.LetterFilter(
            flow=request.flow,
            selection=_selection(request.selection),
            state=request.state,
            own_topic=request.own_topic,
        )
        found = await dead_letters.list_letters(
            self._gateway,
            current_caller(),
            algorithm_if_named(request.algorithm),
            wanted,
            page_of(request.limit, request.marker),
        )
        return gateway_pb2.ListDeadLettersResponse(
            dead_letters=[letter_messages.letter(one) for one in found.page.items],
            marker=found.page.marker or "",
            truncated=found.truncated,
        )

    async def GetDeadLetter(  # noqa: N802
        self, request: gateway_pb2.GetDeadLetterRequest, _context: Context
    ) -> gateway_pb2.WholeDeadLetter:
        found = await dead_letters.get_letter(
            self._gateway,
            current_caller(),
            algorithm_if_named(request.algorithm),
            request.flow,
            request.id,
            own_topic=request.own_topic,
        )
        return letter_messages.whole_letter(found)

    async def RedriveDeadLetters(  # noqa: N802
        self, request: gateway_pb2.RedriveDeadLettersRequest, context: Context
    ) -> gateway_pb2.DeadLettersTaken:
        wish = RedriveWish(
            flow=request.flow,
            chosen=_selection(request.selection),
            algorithm_version=request.algorithm_version,
            rate_per_s=request.rate_per_s,
            own_topic=request.own_topic,
        )
        whose = (self._gateway, current_caller(), algorithm_if_named(request.algorithm))
        if request.dry_run:
            return _counted(await dead_letter_requests.redrive_count(*whose, wish))
        intent = self._wishes.intent(
            context,
            f"DeadLetters/RedriveDeadLetters/{request.flow}",
            expected_version=expected_version_of(request),
        )
        return _taken(await dead_letter_requests.redrive(*whose, wish, intent))

    async def PurgeDeadLetters(  # noqa: N802
        self, request: gateway_pb2.PurgeDeadLettersRequest, context: Context
    ) -> gateway_pb2.DeadLettersTaken:
        wish = PurgeWish(
            flow=request.flow,
            chosen=_selection(request.selection),
            own_topic=request.own_topic,
        )
        whose = (self._gateway, current_caller(), algorithm_if_named(request.algorithm))
        if request.dry_run:
            return _counted(await dead_letter_requests.purge_count(*whose, wish))
        intent = self._wishes.intent(
            context,
            f"DeadLetters/PurgeDeadLetters/{request.flow}",
            expected_version=expected_version_of(request),
        )
        return _taken(await dead_letter_requests.purge(*whose, wish, intent))

    async def ListDeadLetterTasks(  # noqa: N802
        self, request: gateway_pb2.ListDeadLetterTasksRequest, context: Context
    ) -> gateway_pb2.ListDeadLetterTasksResponse:
        algorithm = algorithm_if_named(request.algorithm)
        asked = await asked_as_of(self._gateway, context, request.as_of, request.marker)
        with told_of(asked.gateway.moment):
            page = dead_letter_tasks.list_tasks(
                asked.gateway,
                current_caller(),
                algorithm,
                request.flow,
                page_of(request.limit, asked.marker),
            )
        return gateway_pb2.ListDeadLetterTasksResponse(
            tasks=[letter_messages.task(record) for record in page.items], marker=asked.next(page)
        )

    async def GetDeadLetterTask(  # noqa: N802
        self, request: gateway_pb2.GetDeadLetterTaskRequest, context: Context
    ) -> gateway_pb2.DeadLetterTask:
        algorithm = algorithm_if_named(request.algorithm)
        asked = await asked_as_of(self._gateway, context, request.as_of)
        with told_of(asked.gateway.moment):
            record = await dead_letter_tasks.get_task(
                asked.gateway, current_caller(), algorithm, request.flow, request.id
            )
        return letter_messages.task(record)

    async def CancelDeadLetterTask(  # noqa: N802
        self, request: gateway_pb2.CancelDeadLetterTaskRequest, context: Context
    ) -> gateway_pb2.DeadLetterTask:
        intent = self._wishes.intent(
            context,
            f"DeadLetters/CancelDeadLetterTask/{request.id}",
            expected_version=expected_version_of(request),
        )
        algorithm = algorithm_if_named(request.algorithm)
        record = await dead_letter_tasks.cancel_task(
            self._gateway, current_caller(), algorithm, request.flow, request.id, intent
        )
        return letter_messages.task(record)


def _counted(count: LetterCount) -> gateway_pb2.DeadLettersTaken:
    return gateway_pb2.DeadLettersTaken(letters=count.letters, truncated=count.truncated)


def _taken(record: TaskRecord) -> gateway_pb2.DeadLettersTaken:
    return gateway_pb2.DeadLettersTaken(task=letter_messages.task(record))


def _selection(asked: gateway_pb2.DeadLetterSelection) -> DeadLetterSelection:
    return selection(
        since=asked.since,
        until=asked.until,
        failure=asked.failure,
        error_type=asked.error_type,
        key=asked.key,
        topic=asked.topic,
        partitions=asked.partitions,
        offset_first=asked.offset_first if asked.HasField("offset_first") else None,
        offset_last=asked.offset_last if asked.HasField("offset_last") else None,
        letters=asked.letters,
    )
