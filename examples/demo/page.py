"""The two commands of Algorithmia's Event Flows page, run as they stand there.

The keys go to curl by its standard input, since arguments can be read by every user of the machine.
"""

from __future__ import annotations

import asyncio
import json
import shutil

from devstack.rest import Rest
from rich.console import Console

CURL_TIMEOUT_S = 15.0


async def run_commands(
    console: Console, url: str, account: str, user_id: str, *, admin_key: str, owner_key: str
) -> None:
    """GET the user with the admin key, then its event listeners with the standard key."""
    for path, key, shown in (
        (f"/v1/users/{account}", admin_key, "ADMIN_API_KEY"),
        (f"/v1/users/{user_id}/event-listeners", owner_key, "STD_API_KEY"),
    ):
        console.print(
            f"\n$ curl -X GET {url}{path} -H 'Authorization: Simple {shown}'", soft_wrap=True
        )
        console.print_json(json.dumps(await _get(url, path, key)))


async def _get(url: str, path: str, key: str) -> object:
    curl = shutil.which("curl")
    if curl is None:
        async with Rest(url, key) as rest:
            answer: object = await rest.get(path)
            return answer
    run = await asyncio.create_subprocess_exec(
        curl, "--silent", "--show-error", "--fail-with-body", "--config", "-", url + path,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(CURL_TIMEOUT_S):
        output, _ = await run.communicate(f'header = "Authorization: Simple {key}"\n'.encode())
    if run.returncode != 0:
        raise RuntimeError(f"curl {path} ended with {run.returncode}: {output.decode()}")
    decoded: object = json.loads(output)
    return decoded
