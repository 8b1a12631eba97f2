"""The Registry service of `proto/eventflows/registry/v1`; who may call: servicekit.identity."""

from __future__ import annotations

from typing import Any

from eventflows.registry.v1 import registry_pb2, registry_pb2_grpc

from registry.entrypoints.watch_rpc import watch_handler

DESCRIPTOR = registry_pb2.DESCRIPTOR.services_by_name["Registry"]


class RegistryService:
    """One servicer made of parts, each of which answers some of the RPCs (methods of their names).

    Raises ValueError unless every RPC is answered by exactly one part.
    """

    def __init__(self, *parts: object) -> None:
        for method in DESCRIPTOR.methods:
            answers = [getattr(part, method.name) for part in parts if hasattr(part, method.name)]
            if len(answers) != 1:
                raise ValueError(f"{method.name} is answered by {len(answers)} parts, not by one")
            setattr(self, method.name, answers[0])


def add_to_server(servicer: Any, server: Any) -> None:
    """As the generated function does, but `Watch` answers with bytes: a page is encoded once."""
    registry_pb2_grpc.add_RegistryServicer_to_server(servicer, server)
    server.add_registered_method_handlers(DESCRIPTOR.full_name, {"Watch": watch_handler(servicer)})
