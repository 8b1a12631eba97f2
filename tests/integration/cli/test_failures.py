"""What goes wrong is one sentence on stderr and a code: never a traceback, never a key."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from devstack.ports import free_ports
from eventflows.registry.v1 import registry_pb2
from eventflows.registry.v1.registry_pb2_grpc import (
    RegistryServicer,
    add_RegistryServicer_to_server,
)
from eventflows_cli import __main__ as main
from servicekit.identity import Identities
from servicekit.rpc import RpcService, rpc_server
from servicekit.settings import HostPort

from tests.integration.cli.command import END_TIMEOUT_S, SCRIPT, Command, Ended
from tests.integration.cli.conftest import Told

DESCRIPTOR = registry_pb2.DESCRIPTOR.services_by_name["Registry"]
WORDS = ("log", "verify")
DISTANCE_S = 0.3


def assert_one_sentence(ended: Ended, code: int, *said: str) -> None:
    assert ended.code == code, ended
    assert ended.out == ""
    assert ended.err.startswith("eventflows: ")
    assert ended.err.count("\n") == 1
    assert "Traceback" not in ended.err
    for each in said:
        assert each in ended.err


async def test_a_registry_that_is_away_is_named_with_the_origin_of_its_address(
    told: Told,
) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    ended = await told.command(*WORDS, "--address", address)
    assert_one_sentence(ended, 69, address, "--address", "see that it runs")


class SilentRegistry(RegistryServicer):
    """Takes calls and never answers."""

    async def GetHead(self, request: Any, context: Any) -> Any:  # noqa: N802
        await asyncio.Event().wait()


async def test_a_silent_registry_is_given_up_after_the_timeout(told: Told) -> None:
    server = rpc_server(
        listen=HostPort("127.0.0.1", 0),
        identities=Identities.load(told.registry.folder / "identities.json"),
        services=[RpcService(DESCRIPTOR, add_RegistryServicer_to_server, SilentRegistry())],  # type: ignore[abstract]
        stop_grace_s=0.1,
    )
    async with server:
        ended = await told.command(*WORDS, "--address", str(server.address), "--timeout", "0.5")
    assert_one_sentence(ended, 69, "0.5 s", "--timeout")


async def test_a_registry_far_away_is_waited_for(told: Told) -> None:
    """The network here takes 0.3 s; a channel's first attempt is given up after 0.1 s."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def distant(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        travelled: asyncio.Future[None] = loop.create_future()
        loop.call_later(DISTANCE_S, travelled.set_result, None)
        await travelled
        address = told.registry.address
        inner, outer = await asyncio.open_connection(address.host, address.port)
        with suppress(ConnectionError):
            await asyncio.gather(pipe(reader, outer), pipe(inner, writer))

    async with await asyncio.start_server(distant, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        ended = await told.command(*WORDS, "--address", f"127.0.0.1:{port}", "-o", "json")
    assert ended.code == 0, ended
    assert ended.json["intact"] is True


async def test_an_unknown_key_is_refused_without_showing_it(told: Told, tmp_path: Path) -> None:
    key_file = tmp_path / "wrong.token"
    key_file.write_text("k" * 43)
    ended = await told.command(*WORDS, "--key-file", str(key_file))
    assert_one_sentence(ended, 77, str(key_file), "operator's service token")
    assert "k" * 43 not in ended.err


async def test_a_key_of_another_role_may_not(told: Told) -> None:
    key_file = told.registry.folder / "router.token"
    ended = await told.command(*WORDS, "--key-file", str(key_file))
    assert_one_sentence(ended, 77, "may not do this")


async def test_without_a_profile_it_says_what_is_missing() -> None:
    ended = await Command(environ={"XDG_CONFIG_HOME": "/nowhere"})(*WORDS)
    assert ended.code == 78
    assert "EVENTFLOWS_ADDRESS" in ended.err
    assert "EVENTFLOWS_KEY_FILE" in ended.err


async def test_a_missing_key_file_is_a_wrong_profile(told: Told) -> None:
    ended = await told.command(*WORDS, "--key-file", "/nowhere/operator.token")
    assert_one_sentence(ended, 78, "/nowhere/operator.token cannot be read")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["log", "at", "yesterday"], "'yesterday' is no moment"),
        (["log", "at", "2026-11-24T09:30:00"], "has no zone"),
        (["log", "show", "x"], "neither a position (42) nor a command id"),
        (["log", "diff"], "Missing argument"),
        (["log", "verify", "--after", "3"], "--after and --hash belong together"),
        (["log", "verify", "--expect", "3:abc"], "64 hex digits"),
        (["log", "export", "/tmp/x", "--with-vault"], "belong together"),
        (["log", "nonsense"], "No such command"),
        (["log", "tail", "--nonsense"], "No such option"),
        (["log", "tail", "--key", "k" * 43], "--key"),
        (["secrets", "shred", "x", "--yes"], "'x' is no id"),
    ],
)
async def test_a_wrong_call_is_told_what_to_do(told: Told, words: list[str], said: str) -> None:
    assert_one_sentence(await told.command(*words), 2, said)


async def test_called_without_a_command_it_shows_the_commands(told: Told) -> None:
    ended = await told.command()
    assert ended.code == 2
    assert "Usage: eventflows" in ended.err


@pytest.mark.parametrize(
    "words",
    [
        ("log", "revert", "connection", "CONNECTION", "1"),
        ("secrets", "shred", "CONNECTION"),
    ],
)
async def test_what_changes_things_is_refused_where_nobody_can_be_asked(
    told: Told, words: tuple[str, ...]
) -> None:
    before = (await told.command.done("log", "verify", "-o", "json")).json
    given = [told.story.connection_id if word == "CONNECTION" else word for word in words]
    assert_one_sentence(await told.command(*given), 2, "--yes")
    assert (await told.command.done("log", "verify", "-o", "json")).json == before


async def test_every_command_has_help_with_the_shared_options(told: Told) -> None:
    commands = [
        *(("log", name) for name in (
            "tail", "show", "stat", "at", "diff", "verify", "export", "import", "revert", "relay"
        )),
        ("secrets", "shred"), ("secrets", "keygen"), ("profile", "list"), ("profile", "show"),
    ]  # fmt: skip
    for words in commands:
        ended = await told.command.done(*words, "--help")
        for option in (
            "--output",
            "--no-color",
            "--profile",
            "--address",
            "--key-file",
            "--timeout",
        ):
            assert option in ended.out, (words, option)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_shells_get_completion(told: Told, shell: str) -> None:
    ended = await told.command.done("--show-completion", shell)
    assert "eventflows" in ended.out
    completed = await told.command(
        _EVENTFLOWS_COMPLETE="complete_bash", COMP_WORDS="eventflows log ", COMP_CWORD="2"
    )
    assert {"tail", "verify", "export"} <= set(completed.out.split())


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-"])
async def test_a_closed_stream_is_no_failure(told: Told, closed: str) -> None:
    assert (await in_shell(told, f"log tail -n 1 {closed}")).code == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
async def test_characters_that_a_terminal_lacks_are_escaped(told: Told, encoding: str) -> None:
    ended = await told.command.done("log", "at", "now", "flow", PYTHONIOENCODING=encoding)
    assert "acme/digits \\u2190 images on plant" in ended.out
    unknown = await told.command("log", "at", "now", "flow", "←", PYTHONIOENCODING=encoding)
    assert_one_sentence(unknown, 1, "\\u2190")


async def test_a_full_disk_behind_stdout_is_said(told: Told) -> None:
    ended = await in_shell(told, "log tail >/dev/full")
    assert_one_sentence(ended, 74, "No space left on device")
    assert "Errno" not in ended.err


async def test_a_defect_is_no_refusal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: object) -> int:
        raise RuntimeError("two and two are five")

    monkeypatch.setattr(main, "app", broken)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 70
    said = capsys.readouterr().err
    assert "Traceback" in said  # whoever mends it needs the place
    assert "eventflows: this is a defect of eventflows: RuntimeError('two and two" in said


async def in_shell(told: Told, words: str) -> Ended:
    """With the redirections of a shell."""
    process = await asyncio.create_subprocess_shell(
        f"{SCRIPT} {words}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **told.command.environ},
    )
    async with asyncio.timeout(END_TIMEOUT_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(code=process.returncode, out=out.decode(), err=err.decode())
