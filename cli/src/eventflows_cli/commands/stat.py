"""`log stat`: how much the log holds."""

from __future__ import annotations

from eventflows.registry.v1 import registry_pb2 as pb

from eventflows_cli.app import log
from eventflows_cli.json_shapes import of_message
from eventflows_cli.run import DONE, Run, command
from eventflows_cli.views import statistics as view


@command(log, "stat")
async def stat(run: Run) -> int:
    """Show the head of the log, and how many events of what kind it holds in how many bytes."""
    async with run.registry() as calls:
        answer = await calls.ask(calls.stub.GetLogStatistics, pb.GetLogStatisticsRequest())
    run.output.show(of_message(answer), lambda document: view.statistics(document, None))
    return DONE
