"""Taking the right to a consumer group away from everybody, and giving it back.

For a broker of the devstack that was started with `WITH_ACLS`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest
from devstack import Kafka

from tests.support.kafka_clients import admin

WITH_ACLS = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
"""Overrides of a broker: whatever no ACL speaks of is allowed."""
_GROUP, _LITERAL, _READ, _DENY = 3, 3, 3, 2
"""Numbers of Kafka's protocol."""


@asynccontextmanager
async def group_denied(kafka: Kafka, group_id: str) -> AsyncIterator[None]:
    """Within, nobody may read as this group. The broker obeys a moment after it has answered."""
    async with admin(kafka) as connected:
        client = connected._client
        node_id = client.get_random_node()
        rule = (_GROUP, group_id, _LITERAL, "User:*", "*", _READ, _DENY)
        created = await client.send(node_id, CreateAclsRequest(*rule))
        assert [code for code, *_ in created.creation_responses] == [0], created
        try:
            yield
        finally:
            deleted = await client.send(node_id, DeleteAclsRequest(*rule))
            assert len(deleted.filter_responses[0][2]) == 1, deleted
