"""`python -m gateway rest` serves REST, `python -m gateway rpc` serves gRPC: one process each."""

from __future__ import annotations

import argparse
import asyncio
import sys

from servicekit.lifecycle import run_service
from servicekit.logs import configure_logs
from servicekit.settings import load_settings

from gateway import bootstrap
from gateway.settings import GatewaySettings

_SERVE = {"rest": bootstrap.serve_rest, "rpc": bootstrap.serve_rpc}


def main() -> None:
    """Parse, run, exit: 0 after a clean end, 78 for wrong settings, 70 for a failure."""
    parser = argparse.ArgumentParser(prog="gateway", description=__doc__)
    parser.add_argument("protocol", choices=sorted(_SERVE))
    protocol = parser.parse_args().protocol
    service = f"gateway-{protocol}"

    async def serve(stop: asyncio.Event) -> None:
        settings = load_settings(GatewaySettings)
        configure_logs(service=service, level=settings.log_level)
        await _SERVE[protocol](settings, stop)

    sys.exit(run_service(serve, service=service))


if __name__ == "__main__":
    main()
