"""`log relay`: the log as CloudEvents on Kafka, for ever or up to its end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
from kernel.errors import InvalidInput

from eventflows_cli.app import log
from eventflows_cli.run import DONE, Run, command

SOURCE_DEFAULT: Final = "/eventflows/registry"
SOURCE_CHARACTERS_MAX: Final = 255


@command(log, "relay")
async def relay(
    run: Run,
    *,
    kafka: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A Kafka without security.")
    ] = None,
    kafka_file: Annotated[
        Path | None, typer.Option(help="TOML file that says how to reach Kafka (docs/relay.md).")
    ] = None,
    topic: Annotated[str, typer.Option(help="Gets every event, in order.")] = "eventflows.log",
    state_topic: Annotated[
        str, typer.Option(help="Compacted; gets the state of what an event touched.")
    ] = "eventflows.state",
    source: Annotated[
        str, typer.Option(help="`source` of the CloudEvents; it tells clusters apart.")
    ] = SOURCE_DEFAULT,
    until_head: Annotated[
        bool, typer.Option("--until-head", help="End when the present end of the log is written.")
    ] = False,
) -> int:
    """Write the log to Kafka as CloudEvents, going on where it stopped."""
    # With aiokafka behind them: not for --help.
    from eventflows_cli.relay import kafka_settings, topics
    from eventflows_cli.relay.client_logs import client_logs
    from eventflows_cli.relay.kafka_log import KafkaLog
    from eventflows_cli.relay.registry_log import RegistryLog
    from eventflows_cli.relay.relay import Relay

    if (kafka is None) == (kafka_file is None):
        raise InvalidInput("say where Kafka is: either --kafka or --kafka-file")
    if topic == state_topic:
        raise InvalidInput("--topic and --state-topic must differ: one is compacted, one is not")
    topics.check_name("--topic", topic)
    topics.check_name("--state-topic", state_topic)
    _check_source(source)
    settings = (
        kafka_settings.load(kafka_file)
        if kafka_file is not None
        else kafka_settings.without_security(kafka or "")
    )
    async with run.registry() as calls:
        say = run.output.say
        with client_logs(say), run.output.progress("relaying") as step:
            written = await Relay(
                RegistryLog(calls),
                lambda: KafkaLog(settings, full_topic=topic, state_topic=state_topic),
                source=source,
                until_head=until_head,
                progress=step,
                say=say,
            ).run()
    run.output.show(
        {"position": written, "topic": topic, "state_topic": state_topic},
        lambda document: f"relayed up to position {document['position']}",
    )
    return DONE


def _check_source(source: str) -> None:
    """A reference to a URI, as CloudEvents ask for. Raises InvalidInput."""
    printable = source.isascii() and source.isprintable() and " " not in source
    if not (printable and 0 < len(source) <= SOURCE_CHARACTERS_MAX):
        raise InvalidInput(
            f"--source must have 1 to {SOURCE_CHARACTERS_MAX} printable ASCII characters without "
            "spaces, for example /acme/eventflows"
        )
