"""The first admin of a development cluster, by the command that an operator would use."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping

from devstack.errors import ToolFailed

TIMEOUT_S = 30.0


async def create_first_admin(environment: Mapping[str, str], *, username: str = "admin") -> str:
    """Run `registry first-admin` with the registry's variables; returns the key.

    The key comes by a pipe, so it stands in no log. Raises ToolFailed.
    """
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "registry", "first-admin", username, f"{username}@example.com",
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(TIMEOUT_S):
        output, errors = await run.communicate()
    if run.returncode != 0:
        raise ToolFailed(f"registry first-admin ended with {run.returncode}: {errors.decode()}")
    return output.decode().strip()
