"""Opens connections: a name may have several addresses, and one of them may be dead."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final, TypeVar

ADDRESS_S: Final = 5.0
P = TypeVar("P", bound=asyncio.Protocol)


async def first_that_connects(
    host: str,
    port: int,
    *,
    make: Callable[[], P],
    let_go: Callable[[P], None],
    tls: ssl.SSLContext | None,
) -> P:
    """Try each address of the host in turn, each with a protocol of its own.

    `let_go` is told of those that were made in vain. Raises the last address's OSError, which
    TLS's errors, those of names and TimeoutError are too.
    """
    loop = asyncio.get_running_loop()
    try:
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label of more than 63 characters, for one
        raise OSError("the name is no host name") from error
    failure: OSError = OSError("the name has no address")
    for family, _, proto, _, address in addresses:
        protocol = make()
        try:
            async with asyncio.timeout(ADDRESS_S):
                await loop.create_connection(
                    lambda made=protocol: made,
                    str(address[0]),
                    port,
                    family=family,
                    proto=proto,
                    ssl=tls,
                    server_hostname=host if tls else None,
                )
        except OSError as error:
            let_go(protocol)
            failure = error
        except BaseException:
            let_go(protocol)
            raise
        else:
            return protocol
    raise failure
