"""`log tail`: what is there, and what comes."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest
from devstack import Postgres
from devstack.ports import free_ports
from devstack.service import Service, serves_grpc
from eventflows.registry.v1.registry_pb2_grpc import RegistryStub
from servicekit.identity import ServiceToken
from servicekit.rpc import rpc_channel

from tests.integration.cli.command import Command, next_line
from tests.integration.cli.conftest import Told, command_for
from tests.support.registry import (
    account_request,
    environment,
    fresh_database,
    served,
)


async def test_the_newest_events_are_shown_oldest_first_with_names(told: Told) -> None:
    shown = (await told.command.done("log", "tail", "-n", "3")).out.splitlines()
    assert len(shown) == 4
    assert shown[0].split() == ["POSITION", "TIME", "WHO", "WHAT", "WHICH"]
    words = [line.split(maxsplit=5) for line in shown[1:]]
    positions = told.story.positions
    assert [row[0] for row in words] == [str(each) for each in range(positions - 2, positions + 1)]
    assert [row[3] for row in words] == ["UTC"] * 3
    assert [row[4] for row in words] == ["acme"] * 3
    assert words[-1][5] == "flow enabled                        acme/digits ← images on plant"
    assert words[-2][5] == "flow created                        acme/digits ← images on plant"


async def test_json_has_every_event_with_numbers_names_and_utc_times(told: Told) -> None:
    events = (await told.command.done("log", "tail", "-o", "json")).json["events"]
    assert [event["position"] for event in events] == list(range(1, told.story.positions + 1))
    enabled = events[-1]
    assert enabled["event"] == "flow.enabled.v1"
    assert enabled["kind"] == "flow"
    assert enabled["stream_id"] == told.story.flow_id
    assert enabled["stream_name"] == "acme/digits ← images on plant"
    assert (enabled["actor"], enabled["actor_name"]) == (told.story.account_id, "acme")
    assert enabled["key_id"] == told.story.key_id
    assert enabled["time"].endswith("Z")
    assert enabled["data"]["algorithm_version"] == "0.1.0"


async def test_jsonl_is_a_line_an_event_and_nothing_else(told: Told) -> None:
    ended = await told.command.done("log", "tail", "--output", "jsonl", "-n", "2")
    assert [event["position"] for event in ended.lines] == [
        told.story.positions - 1,
        told.story.positions,
    ]
    assert ended.err == ""


async def test_after_a_position_come_all_that_follow(told: Told) -> None:
    ended = await told.command.done("log", "tail", "--after", "2", "-o", "jsonl")
    expected = list(range(3, told.story.positions + 1))
    assert [event["position"] for event in ended.lines] == expected


async def test_events_are_chosen_by_kind_and_by_stream(told: Told) -> None:
    by_kind = await told.command.done("log", "tail", "--kind", "topic-access", "-o", "jsonl")
    assert [event["event"] for event in by_kind.lines] == ["topic_access.set.v1"]
    several = await told.command.done(
        "log", "tail", "--kind", "flow", "--kind", "connection", "-o", "jsonl"
    )
    assert {event["kind"] for event in several.lines} == {"flow", "connection"}
    by_stream = await told.command.done(
        "log", "tail", "--stream", told.story.algorithm_id, "--after", "0", "-o", "jsonl"
    )
    assert [event["version"] for event in by_stream.lines] == [1, 2, 3]


async def test_a_change_is_shown_within_a_second(told_anew: Told) -> None:
    async with told_anew.command.started("log", "tail", "-f", "-n", "1", "-o", "jsonl") as process:
        await next_line(process.stdout)
        async with told_anew.registry.client() as client:
            begin = time.monotonic()
            await client.CreateAccount(account_request("newcomer"))
            line = await next_line(process.stdout)
            took_s = time.monotonic() - begin
    assert '"stream_name":"newcomer"' in line
    assert took_s < 1.0


async def test_following_goes_on_over_restarts_of_the_registry_without_gap_or_repeat(
    postgres: Postgres, tmp_path: Path
) -> None:
    database = await fresh_database(postgres)
    address = f"127.0.0.1:{free_ports(1)[0]}"
    variables = environment(database, tmp_path / "registry") | {
        "EVENTFLOWS_REGISTRY_LISTEN": address
    }
    prefix = "EVENTFLOWS_REGISTRY_"
    registry = Service(
        "registry",
        name="registry",
        settings={name.removeprefix(prefix).lower(): each for name, each in variables.items()},
        log_path=tmp_path / "registry.log",
        probe=serves_grpc(address),
    )
    operator = tmp_path / "registry" / "operator.token"
    command = Command(environ={"EVENTFLOWS_ADDRESS": address, "EVENTFLOWS_KEY_FILE": str(operator)})

    async def create(name: str) -> None:
        async with rpc_channel(
            address, ServiceToken.load(tmp_path / "registry" / "gateway.token")
        ) as channel:
            await RegistryStub(channel).CreateAccount(account_request(name))

    await registry.start()
    try:
        await create("first")
        async with command.started("log", "tail", "-f", "-o", "jsonl") as process:
            lines = [await next_line(process.stdout)]
            registry.kill()
            assert "waiting for it" in await next_line(process.stderr)
            await registry.start()
            await create("second")
            lines.append(await next_line(process.stdout))
            assert "going on after position 1" in await next_line(process.stderr)
            await registry.stop()
            assert "waiting for it" in await next_line(process.stderr)
            await registry.start()
            await create("third")
            lines.append(await next_line(process.stdout))
    finally:
        await registry.stop()
    names = [line.partition('"stream_name":"')[2].partition('"')[0] for line in lines]
    assert names == ["first", "second", "third"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
async def test_an_interrupt_ends_it_without_a_word(
    told: Told, number: signal.Signals, code: int
) -> None:
    async with told.command.started("log", "tail", "-f", "-n", "1", "-o", "jsonl") as process:
        await next_line(process.stdout)
        process.send_signal(number)
        async with asyncio.timeout(10):
            out, err = await process.communicate()
    assert (process.returncode, out, err) == (code, b"", b"")


@pytest.mark.parametrize("format_", ["table", "jsonl"])
async def test_a_reader_that_has_enough_is_no_error(told_anew: Told, format_: str) -> None:
    told = told_anew
    async with told.command.started("log", "tail", "-f", "-n", "1", "-o", format_) as process:
        await next_line(process.stdout)
        transport = process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
        transport.close()  # what `head` does when it has its lines
        async with told.registry.client() as client:
            await client.CreateAccount(account_request(f"unread_{format_}"))
        async with asyncio.timeout(10):
            _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


async def test_an_empty_log_is_empty_in_every_format(postgres: Postgres, tmp_path: Path) -> None:
    async with served(await fresh_database(postgres), tmp_path / "registry") as registry:
        command = command_for(registry, tmp_path)
        assert (await command.done("log", "tail")).out.split() == [
            "POSITION", "TIME", "WHO", "WHAT", "WHICH",
        ]  # fmt: skip
        assert (await command.done("log", "tail", "-o", "json")).json == {"events": []}
        assert (await command.done("log", "tail", "-o", "jsonl")).out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-f", "-o", "json"], "use --output jsonl"),
        (["-n", "1", "--after", "1"], "not both"),
        (["--after", "1000"], "the log ends at position"),
        (["-n", "-1"], "see `eventflows log tail --help`"),
        (["--kind", "planet"], "'planet' is not one of"),
    ],
)
async def test_what_makes_no_sense_is_refused(told: Told, words: list[str], said: str) -> None:
    ended = await told.command("log", "tail", *words)
    assert ended.code == 2
    assert said in ended.err
    assert ended.out.strip() in ("", "POSITION   TIME                          WHO                 "
                                 "WHAT                                WHICH")  # fmt: skip
    assert ended.err.count("\n") == 1
