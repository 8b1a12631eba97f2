"""All that a catalog answers: catalogs that answer alike are equal for everybody who uses them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from catalog.catalog import Catalog
from catalog.effective import effective
from catalog.events import ApiType


def answers(
    catalog: Catalog,
    *,
    ids: Sequence[str],
    names: Sequence[str] = (),
    topics: Sequence[str] = (),
    keys: Iterable[bytes] = (),
) -> dict[str, object]:
    """Every public look-up, asked with every one of these words, in every order that it has."""
    flows = catalog.flows()
    told: dict[str, object] = {
        "position": catalog.position,
        "accounts": catalog.accounts(),
        "connections": catalog.connections(),
        "flows": flows,
        "enabled": catalog.enabled_flow_ids(),
        "effective": [effective(catalog, flow.flow_id) for flow in flows],
    }
    for one in ids:
        told |= {
            f"account {one}": catalog.account(one),
            f"algorithm {one}": catalog.algorithm(one),
            f"algorithms of {one}": catalog.algorithms_of(one),
            f"connection {one}": catalog.connection(one),
            f"deleted {one}": catalog.deleted_connection_name(one),
            f"flow {one}": catalog.flow(one),
            f"flows of {one}": catalog.flows_of_algorithm(one),
            f"listeners of {one}": catalog.listeners_of(one),
            f"followers of {one}": catalog.enabled_followers(one),
            f"followed {one}": catalog.is_followed(one),
            f"topics of {one}": catalog.topics_with_access(one),
        }
    told |= {f"named {one}": catalog.account_named(one) for one in names}
    told |= {
        f"{one}/{two}": catalog.algorithm_named(one, two) for one, two in product(names, names)
    }
    told |= {f"key {one.hex()}": catalog.key_owner(one) for one in keys}
    for one, topic in product(ids, topics):
        told[f"access {one} {topic}"] = catalog.topic_access(one, topic)
        told[f"readers {one} {topic}"] = catalog.enabled_readers(one, topic)
        for algorithm_id, api_type in product(ids, ApiType):
            told[f"grant {one} {topic} {algorithm_id} {api_type}"] = catalog.is_granted(
                connection_id=one, topic=topic, algorithm_id=algorithm_id, api_type=api_type
            )
    return told
