"""`touched` names everything that an event changes, in any history."""

from __future__ import annotations

from catalog.catalog import Catalog
from catalog.kinds import AggregateKind
from catalog.touched import touched
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.test_flows import steps, told


def everything(catalog: Catalog) -> dict[tuple[AggregateKind, str], object]:
    """All records of a catalog by kind and id."""
    found: dict[tuple[AggregateKind, str], object] = {}
    for account in catalog.accounts():
        found[AggregateKind.ACCOUNT, account.account_id] = account
        for algorithm in catalog.algorithms_of(account.account_id):
            found[AggregateKind.ALGORITHM, algorithm.algorithm_id] = algorithm
    for connection in catalog.connections():
        found[AggregateKind.CONNECTION, connection.connection_id] = connection
        for access in catalog.topics_with_access(connection.connection_id):
            found[AggregateKind.TOPIC_ACCESS, access.topic_access_id] = access
    for flow in catalog.flows():
        found[AggregateKind.FLOW, flow.flow_id] = flow
    return found


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=15), st.booleans(), st.booleans())
def test_what_changes_was_named_before(
    history: list[tuple[object, ...]], all_granted: bool, deleted: bool
) -> None:
    log = told(history, all_granted=all_granted)
    if deleted:
        log.delete_connection("plant")
    catalog = Catalog()
    before = everything(catalog)
    for recorded in log.recorded:
        named = set(touched(catalog, recorded))
        catalog.apply(recorded)
        after = everything(catalog)
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        # Grants of a deleted connection are not listed any more, but their records are unchanged.
        hidden = {key for key in changed if key[0] is AggregateKind.TOPIC_ACCESS and deleted}
        assert changed - hidden <= named
        before = after
