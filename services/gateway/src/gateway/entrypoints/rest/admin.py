"""What only admins may: broker connections, topic access, all flows of the cluster, over REST."""

from __future__ import annotations

from gateway.application import connections, event_flows, topic_access
from gateway.domain.brokers import BrokerConnection
from gateway.domain.field_names import named_as_sent
from gateway.entrypoints.rest import present, wire, wire_flows
from gateway.entrypoints.rest.call import Answer, Call, etag
from gateway.entrypoints.rest.operation import (
    PAGE_QUERY,
    KeyKind,
    Operation,
    deletes,
    reads,
    takes,
)

CREATED = 201
NO_CONTENT = 204


async def create_broker_connection(call: Call, body: wire_flows.BrokerConnectionCreate) -> Answer:
    """Link an external Kafka cluster."""
    with named_as_sent(_CONNECTION_FIELDS):
        record = await connections.create_connection(
            call.gateway, call.admin, _described(body), call.intent()
        )
    headers = etag(record.stream_version)
    return Answer(body=present.connection(record), status=CREATED, headers=headers)


async def list_broker_connections(call: Call) -> Answer:
    """List the broker connections by name."""
    page = connections.list_connections(call.gateway, call.admin, call.page)
    return call.page_answer(page, present.connection)


async def get_broker_connection(call: Call) -> Answer:
    """Show a broker connection."""
    record = connections.get_connection(call.gateway, call.admin, call.path("connection"))
    return Answer(body=present.connection(record), headers=etag(record.stream_version))


async def put_broker_connection(call: Call, body: wire_flows.BrokerConnectionPut) -> Answer:
    """Replace a broker connection; without credentials those that it has are kept."""
    with named_as_sent(_CONNECTION_FIELDS):
        record = await connections.update_connection(
            call.gateway, call.admin, call.path("connection"), _described(body), call.intent()
        )
    return Answer(body=present.connection(record), headers=etag(record.stream_version))


async def shred_broker_credentials(call: Call) -> Answer:
    """Destroy a broker connection's credentials for good; its flows wait for new ones."""
    version = await connections.shred_credentials(
        call.gateway, call.admin, call.path("connection"), call.intent()
    )
    return Answer(status=NO_CONTENT, headers=etag(version))


async def delete_broker_connection(call: Call) -> Answer:
    """Delete a broker connection; its flows are blocked from here on."""
    await connections.delete_connection(
        call.gateway, call.admin, call.path("connection"), call.intent()
    )
    return Answer(status=NO_CONTENT)


async def try_broker_connection(call: Call, _body: wire.Empty) -> Answer:
    """Try to connect to the broker."""
    record = await connections.try_connection(call.gateway, call.admin, call.path("connection"))
    return Answer(body=present.connection_test(record))


async def list_topics(call: Call) -> Answer:
    """List the broker's topics, live, with the algorithms that have access."""
    records = await topic_access.list_topics(call.gateway, call.admin, call.path("connection"))
    return Answer(body=wire_flows.Topics(topics=[present.topic(record) for record in records]))


async def get_topic_access(call: Call) -> Answer:
    """Show which algorithms may use a topic."""
    record = topic_access.get_topic_access(
        call.gateway, call.admin, call.path("connection"), call.path("topic")
    )
    return Answer(body=present.topic_access(record), headers=etag(record.stream_version))


async def put_topic_access(call: Call, body: wire_flows.TopicAccessPut) -> Answer:
    """Replace all grants of a topic at once."""
    grants = [
        topic_access.GrantRecord(algorithm=one.algorithm, api_type=one.api_type)
        for one in body.algorithms
    ]
    record = await topic_access.set_topic_access(
        call.gateway, call.admin, call.path("connection"), call.path("topic"), grants, call.intent()
    )
    return Answer(body=present.topic_access(record), headers=etag(record.stream_version))


async def list_all_event_flows(call: Call) -> Answer:
    """List the event flows of the whole cluster, by algorithm."""
    wanted = event_flows.FlowFilter(state=call.query("state"), algorithm=call.query("algorithm"))
    page = await event_flows.list_all_flows(call.gateway, call.admin, wanted, call.page)
    return call.page_answer(page, present.flow)


def _described(
    body: wire_flows.BrokerConnectionCreate | wire_flows.BrokerConnectionPut,
) -> BrokerConnection:
    return BrokerConnection(
        name=body.name,
        broker_url=body.broker_url,
        connection_type=body.connection_type,
        broker_username=body.broker_username or "",
        broker_password=body.broker_password or "",
        ca_certificate=body.ca_certificate or "",
        sasl_mechanism=body.sasl_mechanism or "",
        client_certificate=body.client_certificate or "",
        client_key=body.client_key or "",
        group_prefix=body.group_prefix or "",
    )


_ADMIN = KeyKind.ADMIN
_CONNECTION_FIELDS = {"bootstrap_servers": "broker_url"}
_CONNECTIONS = "/v1/admin/broker-connections"
_CONNECTION = f"{_CONNECTIONS}/{{connection}}"
_TOPIC = f"{_CONNECTION}/topics/{{topic}}"

OPERATIONS: tuple[Operation, ...] = (
    takes(
        "POST",
        _CONNECTIONS,
        create_broker_connection,
        key=_ADMIN,
        body=wire_flows.BrokerConnectionCreate,
        answer=wire_flows.BrokerConnection,
        status=CREATED,
    ),
    reads(
        _CONNECTIONS,
        list_broker_connections,
        key=_ADMIN,
        answer=wire.Page[wire_flows.BrokerConnection],
        query=PAGE_QUERY,
    ),
    reads(
        _CONNECTION,
        get_broker_connection,
        key=_ADMIN,
        answer=wire_flows.BrokerConnection,
        single=True,
    ),
    takes(
        "PUT",
        _CONNECTION,
        put_broker_connection,
        key=_ADMIN,
        body=wire_flows.BrokerConnectionPut,
        answer=wire_flows.BrokerConnection,
    ),
    deletes(_CONNECTION, delete_broker_connection, key=_ADMIN, status=NO_CONTENT),
    deletes(
        f"{_CONNECTION}/credentials",
        shred_broker_credentials,
        key=_ADMIN,
        status=NO_CONTENT,
        stays=True,
    ),
    takes(
        "POST",
        f"{_CONNECTION}/test",
        try_broker_connection,
        key=_ADMIN,
        body=wire.Empty,
        answer=wire_flows.ConnectionTest,
        changes=False,
    ),
    reads(f"{_CONNECTION}/topics", list_topics, key=_ADMIN, answer=wire_flows.Topics, live=True),
    reads(_TOPIC, get_topic_access, key=_ADMIN, answer=wire_flows.TopicAccess, single=True),
    takes(
        "PUT",
        _TOPIC,
        put_topic_access,
        key=_ADMIN,
        body=wire_flows.TopicAccessPut,
        answer=wire_flows.TopicAccess,
    ),
    reads(
        "/v1/admin/event-flows",
        list_all_event_flows,
        key=_ADMIN,
        answer=wire.Page[wire_flows.EventFlow],
        query=("state", "algorithm", *PAGE_QUERY),
    ),
)
