"""States of things as documents: the JSON of `log at`."""

from __future__ import annotations

from eventflows.catalog.v1 import catalog_pb2

from eventflows_cli.json_shapes import Json, of_message
from eventflows_cli.kinds import Kind
from eventflows_cli.names import Names


async def of_aggregate(aggregate: catalog_pb2.Aggregate, names: Names) -> Json:
    """Kind, id, name, and every field of the state. Ids in it stay ids; `names` explains them."""
    which = str(aggregate.WhichOneof("state"))
    state = of_message(getattr(aggregate, which))
    explained = {id_: await names.of(kind, id_) for kind, id_ in _mentioned(aggregate) if id_}
    return {
        "kind": which.replace("_", "-"),
        "id": state[f"{which}_id"],
        "name": await names.of_aggregate(aggregate),
        "state": state,
        "names": explained,
    }


def _mentioned(aggregate: catalog_pb2.Aggregate) -> list[tuple[Kind, str]]:
    """The other things that a state names."""
    match aggregate.WhichOneof("state"):
        case "algorithm":
            return [(Kind.ACCOUNT, aggregate.algorithm.owner_id)]
        case "topic_access":
            access = aggregate.topic_access
            granted = [(Kind.ALGORITHM, grant.algorithm_id) for grant in access.grants]
            return [(Kind.CONNECTION, access.connection_id), *granted]
        case "flow":
            flow = aggregate.flow
            return [
                (Kind.ACCOUNT, flow.owner_id),
                (Kind.ALGORITHM, flow.algorithm_id),
                (Kind.ALGORITHM, flow.target_algorithm_id),
                (Kind.CONNECTION, flow.channel.connection_id),
            ]
        case "dead_letter_task":
            return [(Kind.FLOW, aggregate.dead_letter_task.flow_id)]
        case _:
            return []
