"""Free loopback ports below the ephemeral range, so that no outgoing connection takes them."""

import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing

from devstack.errors import DevstackError, DiedAtStart

LOWEST = 10240
HIGHEST = 32767
TRIES_MAX = 200
STARTS_MAX = 3
_TAKEN = ("Address already in use", "could not bind")


def free_ports(count: int) -> list[int]:
    """`count` different ports of 127.0.0.1 that nobody holds right now. Raises DevstackError."""
    found: list[int] = []
    for port in random.sample(range(LOWEST, HIGHEST + 1), TRIES_MAX):
        if len(found) == count:
            break
        if _is_free(port):
            found.append(port)
    if len(found) < count:
        raise DevstackError(
            f"no {count} free ports between {LOWEST} and {HIGHEST} in {TRIES_MAX} tries"
        )
    return found


async def start_on_free_ports(count: int, start: Callable[[list[int]], Awaitable[None]]) -> None:
    """Run `start` with free ports, again with others if somebody was faster, at most 3 times."""
    for left in reversed(range(STARTS_MAX)):
        try:
            await start(free_ports(count))
            return
        except DiedAtStart as error:
            if not left or not any(sign in error.log_tail for sign in _TAKEN):
                raise


def _is_free(port: int) -> bool:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
