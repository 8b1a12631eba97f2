"""`gateway.v1`: the same application functions as REST, with messages instead of JSON."""

from __future__ import annotations

from eventflows.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from servicekit.server_interceptors import Context

from gateway.application import event_flows, event_listeners, pausing, users
from gateway.application.flow_settings import FlowSettings
from gateway.application.gateway import Gateway
from gateway.application.moments import told_of
from gateway.domain.caller import admin, standard
from gateway.domain.delivery import AskedRule, delivery
from gateway.entrypoints.rpc import messages
from gateway.entrypoints.rpc.authentication import current_caller
from gateway.entrypoints.rpc.requests import (
    Wishes,
    algorithm_if_named,
    algorithm_of,
    asked_as_of,
    expected_version_of,
    page_of,
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
        asked = await asked_as_of(self._gateway, context, request.as_of)
        with told_of(asked.gateway.moment):
            return messages.user(users.get_user(asked.gateway, caller, request.name_or_id))

    async def ListUsers(  # noqa: N802
        self, request: gateway_pb2.ListUsersRequest, context: Context
    ) -> gateway_pb2.ListUsersResponse:
        caller = admin(current_caller())
        asked = await asked_as_of(self._gateway, context, request.as_of, request.marker)
        page = users.list_users(asked.gateway, caller, page_of(request.limit, asked.marker))
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
        asked = await asked_as_of(self._gateway, context, request.as_of)
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
        algorithm = algorithm_of(request.algorithm)
        asked = await asked_as_of(self._gateway, context, request.as_of)
        with told_of(asked.gateway.moment):
            records = await event_flows.list_flows(asked.gateway, caller, algorithm)
        return gateway_pb2.ListEventFlowsResponse(
            event_flows=[messages.flow(record) for record in records]
        )

    async def GetEventFlow(  # noqa: N802
        self, request: gateway_pb2.GetEventFlowRequest, context: Context
    ) -> gateway_pb2.EventFlow:
        caller = standard(current_caller())
        algorithm = algorithm_of(request.algorithm)
        asked = await asked_as_of(self._gateway, context, request.as_of)
        with told_of(asked.gateway.moment):
            record = await event_flows.get_flow(asked.gateway, caller, algorithm, request.id)
        return messages.flow(record)

    async def PutEventFlow(  # noqa: N802
        self, request: gateway_pb2.PutEventFlowRequest, context: Context
    ) -> gateway_pb2.EventFlow:
        asked = FlowSettings(
            enabled=request.enabled,
            algorithm_version=request.algorithm_version,
            dead_letter_topic=request.dead_letter_topic,
            concurrency_max=request.concurrency_max,
            allow_cycle=request.allow_cycle,
            timeout_s=request.timeout_s,
            delivery=delivery(
                order=request.order,
                parallelism=request.parallelism,
                start=request.start,
                read_committed=request.read_committed,
                retries=tuple(_rule(rule) for rule in request.retries),
            ),
        )
        caller = standard(current_caller())
        intent = self._wishes.intent(
            context,
            f"EventFlows/PutEventFlow/{request.id}",
            expected_version=expected_version_of(request),
        )
        algorithm = algorithm_of(request.algorithm)
        record = await event_flows.put_flow(
            self._gateway, caller, algorithm, request.id, asked, intent
        )
        return messages.flow(record)

    async def PauseEventFlow(  # noqa: N802
        self, request: gateway_pb2.PauseEventFlowRequest, context: Context
    ) -> gateway_pb2.EventFlow:
        record = await pausing.pause_flow(
            self._gateway,
            current_caller(),
            algorithm_if_named(request.algorithm),
            request.id,
            drain=request.drain,
            reason=request.reason,
            intent=self._wishes.intent(
                context,
                f"EventFlows/PauseEventFlow/{request.id}",
                expected_version=expected_version_of(request),
            ),
        )
        return messages.flow(record)

    async def ResumeEventFlow(  # noqa: N802
        self, request: gateway_pb2.ResumeEventFlowRequest, context: Context
    ) -> gateway_pb2.EventFlow:
        intent = self._wishes.intent(
            context,
            f"EventFlows/ResumeEventFlow/{request.id}",
            expected_version=expected_version_of(request),
        )
        algorithm = algorithm_if_named(request.algorithm)
        record = await pausing.resume_flow(
            self._gateway, current_caller(), algorithm, request.id, intent
        )
        return messages.flow(record)

    async def ListAllEventFlows(  # noqa: N802
        self, request: gateway_pb2.ListAllEventFlowsRequest, context: Context
    ) -> gateway_pb2.ListEventFlowsResponse:
        caller = admin(current_caller())
        wanted = event_flows.FlowFilter(state=request.state, algorithm=request.algorithm)
        asked = await asked_as_of(self._gateway, context, request.as_of, request.marker)
        page = await event_flows.list_all_flows(
            asked.gateway, caller, wanted, page_of(request.limit, asked.marker)
        )
        return gateway_pb2.ListEventFlowsResponse(
            event_flows=[messages.flow(record) for record in page.items], marker=asked.next(page)
        )


def _rule(rule: gateway_pb2.RetryRule) -> AskedRule:
    return AskedRule(
        failure=rule.failure,
        error_type=rule.error_type,
        attempts_max=rule.attempts_max,
        age_max_s=rule.age_max_s,
        delay_first_ms=rule.delay_first_ms,
        delay_longest_ms=rule.delay_longest_ms,
        factor=rule.factor,
        give_up=rule.give_up,
    )
