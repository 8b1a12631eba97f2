"""Opens connections: a name may have several addresses, and one of them may be dead."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import urlsplit

ADDRESS_S: Final = 5.0
P = TypeVar("P", bound=asyncio.Protocol)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A server, as URLs name it. `host_header` is what requests call it; `tls` None: http."""

    host: str
    port: int
    host_header: str
    tls: ssl.SSLContext | None


def origin_of(text: str, *, ssl_context: ssl.SSLContext | None = None) -> Origin:
    """Of `http://host[:port]` or `https://…`, nothing behind it. Raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an origin is http://host:port or https://host:port")
    if parts.path not in ("", "/") or parts.query or parts.username is not None:
        raise ValueError("an origin has no path, query or user")
    is_https = parts.scheme == "https"
    return Origin(
        host=parts.hostname,
        port=parts.port or (443 if is_https else 80),
        host_header=parts.netloc,
        tls=ssl_context or ssl.create_default_context() if is_https else None,
    )


async def first_that_connects(
    origin: Origin, *, make: Callable[[], P], let_go: Callable[[P], None]
) -> P:
    """Try each address of the host in turn, each with a protocol of its own.

    `let_go` is told of those that were made in vain. Raises the last address's OSError, which
    TLS's errors, those of names and TimeoutError are too.
    """
    loop = asyncio.get_running_loop()
    try:
        addresses = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
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
                    origin.port,
                    family=family,
                    proto=proto,
                    ssl=origin.tls,
                    server_hostname=origin.host if origin.tls else None,
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
