"""Driver errors stop here: a failed gRPC call becomes an error of the kernel's tree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc.aio
from servicekit.failures import UNREACHABLE, raise_from_status


@contextmanager
def kernel_errors(*, unreachable: str = UNREACHABLE) -> Iterator[None]:
    """Inside, `AioRpcError` becomes what the other side raised; without one, Unavailable."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise_from_status(error, unreachable=unreachable)
