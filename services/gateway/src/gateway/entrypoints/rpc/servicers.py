"""`gateway.v1`: the same application functions as REST, with messages instead of JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from eventflows.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from servicekit.server_interceptors import Context

from gateway.application import event_flows, event_listeners, users
from gateway.application.algorithms import AlgorithmRef
from gateway.application.gateway import Gateway
from gateway.application.moments import told_of
from gateway.domain import intent as intents
from gateway.domain.caller import admin, standard
from gateway.domain.fields import algorithm_reference
from gateway.domain.moment import exact_time
from gateway.domain.paging import (
    LIMIT_DEFAULT,
    Page,
    PageRequest,
    checked,
    kept_moment,
    moment_and_marker,
)
from gateway.entrypoints.rpc import messages
from gateway.entrypoints.rpc.authentication import current_caller, current_request_id

IDEMPOTENCY_METADATA = "idempotency-key"
AS_OF_POSITION_METADATA = "x-eventflows-as-of-position"
AS_OF_TIME_METADATA = "x-eventflows-as-of-time"


class Wishes:
    """Makes the intent behind a call."""

    def __init__(self, random_uuid: Callable[[], UUID] = uuid4) -> None:
        self._random_uuid = random_uuid

    def intent(
        self, context: Context, operation: str, *, expected_version: int | None = None
    ) -> intents.Intent:
        """Raises InvalidInput for a bad `idempotency-key`."""
        given: dict[str, Any] = dict(context.invocation_metadata() or ())
        return intents.intent(
            account_id=current_caller().account.account_id,
            operation=operation,
            idempotency_key=given.get(IDEMPOTENCY_METADATA),
            random_uuid=self._random_uuid,
            request_id=current_request_id(),
            expected_versions=None if expected_version is None else (expected_version,),
        )


class UsersServicer(gateway_pb2_grpc.UsersServicer):
    """Users; for admin keys."""

    def __init__(self, gateway: Gateway, wishes: Wishes) -> None:
        self._gateway = gateway
        self._wishes = wishes

    async def CreateUser(  # noqa: N802
        self, request: gateway_pb2.CreateUserRequest, context: Context
    ) -> gateway_pb2.User:
        new = users.NewUser(
            username=request.username,
            email=request.email,
            fullname=request.fullname,
            company_name=request.company_name,
            company_role=request.company_role,
        )
        intent = self._wishes.intent(context, "Users/CreateUser")
        record = await users.create_user(self._gateway, admin(current_caller()), new, intent)
        return messages.user(record)

    async def GetUser(  # noqa: N802
        self, request: gateway_pb2.GetUserRequest, context: Context
    ) -> gateway_pb2.User:
        caller = admin(current_caller())
        asked = await _asked(self._gateway, context, request.as_of)
        with told_of(asked.gateway.moment):
            return messages.user(users.get_user(asked.gateway, caller, request.name_or_id))

    async def ListUsers(  # noqa: N802
        self, request: gateway_pb2.ListUsersRequest, context: Context
    ) -> gateway_pb2.ListUsersResponse:
        caller = admin(current_caller())
        asked = await _asked(self._gateway, context, request.as_of, request.marker)
        page = users.list_users(asked.gateway, caller, _page(request.limit, asked.marker))
        return gateway_pb2.ListUsersResponse(
            users=[messages.user(record) for record in page.items], marker=asked.next(page)
        )


class EventListenersServicer(gateway_pb2_grpc.EventListenersServicer):
    """Event listeners; for standard keys of their owner."""

    def __init__(self, gateway: Gateway, wishes: Wishes) -> None:
        self._gateway = gateway
        self._wishes = wishes

    async def ListEventListeners(  # noqa: N802
        self, request: gateway_pb2.ListEventListenersRequest, context: Context
    ) -> gateway_pb2.ListEventListenersResponse:
        caller = standard(current_caller())
        asked = await _asked(self._gateway, context, request.as_of)
        with told_of(asked.gateway.moment):
            records = event_listeners.list_listeners(asked.gateway, caller, request.user)
        return gateway_pb2.ListEventListenersResponse(
            event_listeners=[messages.listener(record) for record in records]
        )

    async def CreateEventListener(  # noqa: N802
        self, request: gateway_pb2.CreateEventListenerRequest, context: Context
    ) -> gateway_pb2.EventListener:
        new = event_listeners.NewListener(
            source_type=request.source_type,
            source_uri=request.source_uri,
            algo_owner=request.algo_owner,
            algo_name=request.algo_name,
            algo_version=request.algo_version,
            algo_timeout_s=request.algo_timeout_seconds,
            credentials=request.credentials,
        )
        caller = standard(current_caller())
        intent = self._wishes.intent(context, "EventListeners/CreateEventListener")
        record = await event_listeners.create_listener(
            self._gateway, caller, request.user, new, intent
        )
        return messages.listener(record)

    async def DeleteEventListener(  # noqa: N802
        self, request: gateway_pb2.DeleteEventListenerRequest, context: Context
    ) -> gateway_pb2.DeleteEventListenerResponse:
        caller = standard(current_caller())
        intent = self._wishes.intent(context, "EventListeners/DeleteEventListener")
        await event_listeners.delete_listener(
            self._gateway, caller, request.user, request.id, intent
        )
        return gateway_pb2.DeleteEventListenerResponse()


class EventFlowsServicer(gateway_pb2_grpc.EventFlowsServicer):
    """Event flows; for standard keys of the algorithm's owner, the whole list for admin keys."""

    def __init__(self, gateway: Gateway, wishes: Wishes) -> None:
        self._gateway = gateway
        self._wishes = wishes

    async def ListEventFlows(  # noqa: N802
        self, request: gateway_pb2.ListEventFlowsRequest, context: Context
    ) -> gateway_pb2.ListEventFlowsResponse:
        caller = standard(current_caller())
        algorithm = _algorithm(request.algorithm)
        asked = await _asked(self._gateway, context, request.as_of)
        with told_of(asked.gateway.moment):
            records = await event_flows.list_flows(asked.gateway, caller, algorithm)
        return gateway_pb2.ListEventFlowsResponse(
            event_flows=[messages.flow(record) for record in records]
        )

    async def GetEventFlow(  # noqa: N802
        self, request: gateway_pb2.GetEventFlowRequest, context: Context
    ) -> gateway_pb2.EventFlow:
        caller = standard(current_caller())
        algorithm = _algorithm(request.algorithm)
        asked = await _asked(self._gateway, context, request.as_of)
        with told_of(asked.gateway.moment):
            record = await event_flows.get_flow(asked.gateway, caller, algorithm, request.id)
        return messages.flow(record)

    async def PutEventFlow(  # noqa: N802
        self, request: gateway_pb2.PutEventFlowRequest, context: Context
    ) -> gateway_pb2.EventFlow:
        asked = event_flows.FlowSettings(
            enabled=request.enabled,
            algorithm_version=request.algorithm_version,
            dead_letter_topic=request.dead_letter_topic,
            concurrency_max=request.concurrency_max,
            allow_cycle=request.allow_cycle,
            timeout_s=request.timeout_s,
        )
        caller = standard(current_caller())
        expected = request.expected_version if request.HasField("expected_version") else None
        intent = self._wishes.intent(
            context, f"EventFlows/PutEventFlow/{request.id}", expected_version=expected
        )
        algorithm = _algorithm(request.algorithm)
        record = await event_flows.put_flow(
            self._gateway, caller, algorithm, request.id, asked, intent
        )
        return messages.flow(record)

    async def ListAllEventFlows(  # noqa: N802
        self, request: gateway_pb2.ListAllEventFlowsRequest, context: Context
    ) -> gateway_pb2.ListEventFlowsResponse:
        caller = admin(current_caller())
        wanted = event_flows.FlowFilter(state=request.state, algorithm=request.algorithm)
        asked = await _asked(self._gateway, context, request.as_of, request.marker)
        page = await event_flows.list_all_flows(
            asked.gateway, caller, wanted, _page(request.limit, asked.marker)
        )
        return gateway_pb2.ListEventFlowsResponse(
            event_flows=[messages.flow(record) for record in page.items], marker=asked.next(page)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The gateway that reads as of the moment that was asked for, and the marker without it."""

    gateway: Gateway
    marker: str

    def next(self, page: Page[Any]) -> str:
        """The marker of the next page, which is of the same moment; empty on the last one."""
        return kept_moment(page.marker, self.gateway.moment) or ""


async def _asked(gateway: Gateway, context: Context, as_of: str, marker: str = "") -> _Asked:
    """Tells the resolved moment in the initial metadata. Raises what `Gateway.at` raises."""
    wanted, place = moment_and_marker(as_of or None, marker)
    if wanted is None:
        return _Asked(gateway=gateway, marker=place)
    then = await gateway.at(wanted)
    if then.moment is not None:
        await context.send_initial_metadata(
            (
                (AS_OF_POSITION_METADATA, str(then.moment.position)),
                (AS_OF_TIME_METADATA, exact_time(then.moment.time)),
            )
        )
    return _Asked(gateway=then, marker=place)


def _page(limit: int, marker: str) -> PageRequest:
    return checked(PageRequest(limit=limit or LIMIT_DEFAULT, marker=marker))


def _algorithm(name: str) -> AlgorithmRef:
    return AlgorithmRef(*algorithm_reference(name))
