"""`log revert` and `secrets shred`: what an operator changes, once and only when agreed to."""

from __future__ import annotations

from uuid import uuid4

from eventflows.registry.v1 import registry_pb2 as pb

from tests.integration.cli.conftest import Told
from tests.support.registry import context


async def grant_nothing(told: Told) -> pb.CommandResult:
    """The topic's grants are taken away."""
    request = pb.SetTopicAccessRequest(
        context=context(actor=told.story.account_id),
        connection_id=told.story.connection_id,
        topic="images",
    )
    async with told.registry.client() as client:
        return await client.SetTopicAccess(request)


async def grants(told: Told) -> list[str]:
    ended = await told.command.done("log", "at", "now", "topic-access", "-o", "jsonl")
    return [grant["api_type"] for line in ended.lines for grant in line["state"]["grants"]]


async def test_a_thing_is_brought_back_by_an_event_of_the_operator(told_anew: Told) -> None:
    told = told_anew
    taken = await grant_nothing(told)
    assert await grants(told) == []
    ended = await told.command.done(
        "log", "revert", "topic-access", taken.stream_id, "1", "--yes", "-o", "json"
    )
    assert await grants(told) == ["subscriber"]
    result = ended.json
    assert (result["changed"], result["replayed"], result["version"]) == (True, False, 3)
    event = (await told.command.done("log", "show", result["command_id"], "-o", "jsonl")).lines[0]
    assert event["position"] == result["position"] == taken.position + 1
    assert event["actor_name"] == "service:operator"


async def test_a_repeated_command_id_reverts_once(told_anew: Told) -> None:
    told = told_anew
    taken = await grant_nothing(told)
    words = ("log", "revert", "topic-access", taken.stream_id, "1", "--yes", "-o", "json")
    id_ = str(uuid4())
    first = (await told.command.done(*words, "--command-id", id_)).json
    again = (await told.command.done(*words, "--command-id", id_)).json
    assert again == {**first, "replayed": True}


async def test_nothing_to_revert_is_said(told_anew: Told) -> None:
    told = told_anew
    ended = await told.command.done("log", "revert", "connection", "plant", "1", "--yes")
    assert "nothing to do: it was so already" in ended.out


async def test_what_the_rules_forbid_is_refused(told_anew: Told) -> None:
    told = told_anew
    ended = await told.command("log", "revert", "connection", "plant", "99", "--yes")
    assert ended.code in (1, 2)
    assert ended.err.count("\n") == 1
    async with told.registry.client() as client:
        await client.DeleteConnection(
            pb.DeleteConnectionRequest(context=context(), connection_id=told.story.connection_id)
        )
    gone = await told.command("log", "revert", "connection", told.story.connection_id, "1", "-y")
    assert gone.code == 1
    assert "deleted" in gone.err


async def test_a_terminal_is_asked_and_may_say_no(told_anew: Told) -> None:
    told = told_anew
    words = ("log", "revert", "connection", "plant", "1")
    code, shown = await told.command.at_terminal(*words, answer=b"n\n")
    assert "Revert connection plant from version 1 to 1? [y/N]" in shown
    assert "nothing was done" in shown
    assert code == 1
    code, shown = await told.command.at_terminal(*words, answer=b"yes\n")
    assert code == 0
    assert "nothing to do" in shown


async def test_ctrl_c_at_the_question_does_nothing(told_anew: Told) -> None:
    code, _ = await told_anew.command.at_terminal(
        "secrets", "shred", told_anew.story.connection_id, answer=b"\x03"
    )
    assert code == 130
    listed = await told_anew.command.done("log", "at", "now", "connection", "-o", "jsonl")
    assert listed.lines[0]["state"]["credentials"] is not None


async def test_shredded_secrets_are_gone_and_the_log_says_who_did_it(told_anew: Told) -> None:
    told = told_anew
    ended = await told.command.done(
        "secrets", "shred", told.story.connection_id, "--yes", "-o", "json"
    )
    assert ended.json["changed"] is True
    listed = await told.command.done("log", "at", "now", "connection", "-o", "jsonl")
    assert listed.lines[0]["state"]["credentials"] is None
    event = (await told.command.done("log", "tail", "-n", "1", "-o", "jsonl")).lines[0]
    assert event["event"] == "connection.credentials_shredded.v1"
    assert event["actor"] == "service:operator"
    again = await told.command("secrets", "shred", told.story.connection_id, "--yes", "-o", "json")
    assert again.code == 0
    assert again.json["changed"] is False
    assert (await told.command.done("log", "verify")).code == 0


async def test_what_has_no_secrets_cannot_be_shredded(told_anew: Told) -> None:
    ended = await told_anew.command("secrets", "shred", str(uuid4()), "--yes")
    assert ended.code == 1
    assert ended.err.count("\n") == 1
