"""`gateway.v1`: the same application functions as REST, with messages instead of JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from eventflows.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from servicekit.server_interceptors import Context

from gateway.application import event_flows, event_listeners, users
from gateway.application.algorithms import AlgorithmRef
from gateway.application.gateway import Gateway
from gateway.domain import intent as intents
from gateway.domain.caller import admin, standard
from gateway.domain.fields import algorithm_reference
from gateway.domain.paging import LIMIT_DEFAULT, PageRequest, checked
from gateway.entrypoints.rpc import messages
from gateway.entrypoints.rpc.authentication import current_caller

IDEMPOTENCY_METADATA = "idempotency-key"


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
            expected_version=expected_version,
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
        return messages.user(users.get_user(self._gateway, caller, request.name_or_id))

    async def ListUsers(  # noqa: N802
        self, request: gateway_pb2.ListUsersRequest, context: Context
    ) -> gateway_pb2.ListUsersResponse:
        caller = admin(current_caller())
        page = users.list_users(self._gateway, caller, _page(request.limit, request.marker))
        return gateway_pb2.ListUsersResponse(
            users=[messages.user(record) for record in page.items], marker=page.marker or ""
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
        records = event_listeners.list_listeners(self._gateway, caller, request.user)
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
        records = await event_flows.list_flows(self._gateway, caller, _algorithm(request.algorithm))
        return gateway_pb2.ListEventFlowsResponse(
            event_flows=[messages.flow(record) for record in records]
        )

    async def GetEventFlow(  # noqa: N802
        self, request: gateway_pb2.GetEventFlowRequest, context: Context
    ) -> gateway_pb2.EventFlow:
        caller = standard(current_caller())
        algorithm = _algorithm(request.algorithm)
        record = await event_flows.get_flow(self._gateway, caller, algorithm, request.id)
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
        page = await event_flows.list_all_flows(
            self._gateway, caller, wanted, _page(request.limit, request.marker)
        )
        return gateway_pb2.ListEventFlowsResponse(
            event_flows=[messages.flow(record) for record in page.items], marker=page.marker or ""
        )


def _page(limit: int, marker: str) -> PageRequest:
    return checked(PageRequest(limit=limit or LIMIT_DEFAULT, marker=marker))


def _algorithm(name: str) -> AlgorithmRef:
    return AlgorithmRef(*algorithm_reference(name))
