"""Identifiers that are derived, so that everybody derives the same one."""

from __future__ import annotations

from uuid import UUID, uuid5

from catalog.events import ApiType

# Never change: ids in every log depend on it.
EVENTFLOWS_NAMESPACE = UUID("6f1c2b0e-52a5-5d0c-9d57-3f3b8a3c6e11")


def topic_access_id(*, connection_id: str, topic: str) -> str:
    """Stream id of the grants of one topic."""
    return str(uuid5(EVENTFLOWS_NAMESPACE, f"topic-access/{connection_id}/{topic}"))


def granted_flow_id(*, connection_id: str, topic: str, algorithm_id: str, api_type: ApiType) -> str:
    """Id of the flow that a grant allows: it exists before the flow has any event of its own."""
    path = f"flow/{connection_id}/{topic}/{algorithm_id}/{api_type.name}"
    return str(uuid5(EVENTFLOWS_NAMESPACE, path))


def completions_topic(algorithm_id: str) -> str:
    """Our internal topic with the completions of one algorithm."""
    return f"completions.{algorithm_id}"
