"""The `eventflows` command beside a whole cluster: what is done through REST is on the screen."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.e2e.conftest import Landscape
from tests.integration.cli.command import Command, next_line

SHOWN_WITHIN_S = 1.0
CHANGES = 5


async def test_a_change_made_through_rest_is_tailed_within_a_second(
    landscape: Landscape, folder: Path
) -> None:
    landscape.cluster.write_profile(folder / "eventflows.toml")
    command = Command(environ={"EVENTFLOWS_CONFIG": str(folder / "eventflows.toml")})
    async with command.started("log", "tail", "-f", "-n", "1", "-o", "jsonl") as process:
        await next_line(process.stdout)
        for number in range(CHANGES):
            name = f"tailed{number}"
            begin = time.monotonic()
            await landscape.admin.post("/v1/users", {"username": name, "email": f"{name}@x.io"})
            event = json.loads(await next_line(process.stdout))
            took_s = time.monotonic() - begin
            assert (event["event"], event["stream_name"]) == ("account.created.v1", name)
            assert took_s < SHOWN_WITHIN_S
