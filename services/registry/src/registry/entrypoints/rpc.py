"""The Registry service of `proto/eventflows/registry/v1`; who may call: servicekit.identity."""

from __future__ import annotations

from eventflows.registry.v1 import registry_pb2

DESCRIPTOR = registry_pb2.DESCRIPTOR.services_by_name["Registry"]


class RegistryService:
    """One servicer made of parts, each of which answers some of the RPCs (methods of their names).

    Raises ValueError when an RPC is answered by several parts.
    """

    def __init__(self, *parts: object) -> None:
        for method in DESCRIPTOR.methods:
            answers = [getattr(part, method.name) for part in parts if hasattr(part, method.name)]
            if len(answers) > 1:
                raise ValueError(f"{method.name} is answered by {len(answers)} parts, not by one")
            setattr(self, method.name, answers[0] if answers else None)
