"""`log show`, `log stat`, `log at`, `log diff`: what the log says of then and now."""

from __future__ import annotations

from collections import Counter
from uuid import uuid4

from tests.integration.cli.conftest import Told


async def test_one_event_is_shown_with_all_its_fields(told: Told) -> None:
    shown = (await told.command.done("log", "show", str(told.story.positions))).out
    for said in (
        "event           flow enabled (flow.enabled.v1)",
        f"stream          acme/digits ← images on plant ({told.story.flow_id})",
        f"actor           acme ({told.story.account_id})",
        f"key id          {told.story.key_id}",
        "  algorithm_version  0.1.0",
        "UTC",
    ):
        assert said in shown


async def test_a_command_is_shown_by_its_id(told: Told) -> None:
    ended = await told.command.done("log", "show", told.story.grant_command_id, "-o", "jsonl")
    assert [event["event"] for event in ended.lines] == ["topic_access.set.v1"]


async def test_what_is_not_there_is_said(told: Told) -> None:
    for word in ("0", str(told.story.positions + 1), str(uuid4())):
        ended = await told.command("log", "show", word)
        assert ended.code == 1
        assert "the log has no event" in ended.err or "no event of the log" in ended.err


async def test_statistics_agree_with_the_log(told: Told) -> None:
    events = (await told.command.done("log", "tail", "--after", "0", "-o", "jsonl")).lines
    statistics = (await told.command.done("log", "stat", "-o", "json")).json
    assert statistics["head"]["position"] == len(events)
    assert statistics["events_of_kind"] == dict(Counter(event["event"] for event in events))
    assert statistics["seals"] > 0
    assert sum(statistics["bytes_of_table"].values()) > 0
    verdict = (await told.command.done("log", "verify", "-o", "json")).json
    kept = f"{verdict['head']['position']}:{verdict['head']['hash']}"
    assert f"head                 {kept}" in (await told.command.done("log", "stat")).out


async def test_the_state_now_and_at_the_beginning_is_counted(told: Told) -> None:
    now = (await told.command.done("log", "at", "now", "-o", "json")).json
    assert now["moment"]["position"] == told.story.positions
    assert now["counts"] == {
        "account": 1, "algorithm": 1, "connection": 1, "topic-access": 1, "flow": 1,
        "dead-letter-task": 0,
    }  # fmt: skip
    before = (await told.command.done("log", "at", "0", "-o", "json")).json
    assert before["moment"]["position"] == 0
    assert set(before["counts"].values()) == {0}
    assert "accounts" in (await told.command.done("log", "at", "1")).out


async def test_a_time_is_resolved_to_the_position_it_had(told: Told) -> None:
    third = (await told.command.done("log", "show", "3", "-o", "jsonl")).lines[0]
    at = (await told.command.done("log", "at", third["time"], "-o", "json")).json
    assert at["moment"] == {"position": 3, "time": third["time"]}


async def test_things_of_a_kind_are_listed_as_of_a_moment(told: Told) -> None:
    listed = (await told.command.done("log", "at", "now", "flow")).out
    assert "acme/digits ← images on plant  subscriber  enabled  0.1.0" in listed
    earlier = str(told.story.positions - 1)
    before = (await told.command.done("log", "at", earlier, "flow", "-o", "json")).json
    assert before["items"][0]["state"]["settings"] is None
    lines = (await told.command.done("log", "at", "now", "connection", "-o", "jsonl")).lines
    assert [(line["as_of_position"], line["name"]) for line in lines] == [
        (told.story.positions, "plant")
    ]


async def test_one_thing_is_found_by_its_name_or_its_id(told: Told) -> None:
    by_name = await told.command.done("log", "at", "now", "algorithm", "acme/digits", "-o", "json")
    by_id = await told.command.done(
        "log", "at", "now", "algorithm", told.story.algorithm_id, "-o", "json"
    )
    assert by_name.json == by_id.json
    state = by_name.json["state"]
    assert [version["version"] for version in state["versions"]] == ["0.1.0"]
    assert by_name.json["names"] == {told.story.account_id: "acme"}
    shown = (await told.command.done("log", "at", "now", "algorithm", "acme/digits")).out
    assert (
        f"owner_id                       acme ({told.story.account_id})"
        in " ".join(shown.split("\n"))
        or f"acme ({told.story.account_id})" in shown
    )


async def test_what_did_not_exist_then_is_said_with_the_way_to_its_story(told: Told) -> None:
    ended = await told.command("log", "at", "1", "connection", told.story.connection_id)
    assert ended.code == 1
    assert f"log tail --stream {told.story.connection_id}" in ended.err
    by_name = await told.command("log", "at", "1", "connection", "plant")
    assert by_name.code == 1
    assert "no connection with the name plant" in by_name.err


async def test_a_moment_beyond_the_log_is_refused(told: Told) -> None:
    for moment in ("1000000", "2999-01-01T00:00:00Z", "1971-01-01T00:00:00Z"):
        ended = await told.command("log", "at", moment, "account")
        assert ended.code in (1, 2), ended
        assert ended.err.count("\n") == 1
        assert ended.out == ""


async def test_a_diff_says_what_from_to_who_when_and_by_which_key(told: Told) -> None:
    earlier = str(told.story.positions - 1)
    ended = await told.command.done("log", "diff", earlier, "now", "-o", "json")
    changes = ended.json["changes"]
    assert ended.json["to"]["position"] == told.story.positions
    assert {change["kind"] for change in changes} == {"flow"}
    assert {change["actor_name"] for change in changes} == {"acme"}
    assert {change["key_label"] for change in changes} == {"deploy"}
    assert {change["position"] for change in changes} == {told.story.positions}
    assert any(change["to"] == "0.1.0" for change in changes)
    shown = (await told.command.done("log", "diff", earlier)).out
    assert "acme (key deploy)" in shown


async def test_a_diff_can_be_of_one_kind_or_one_thing(told: Told) -> None:
    of_kind = await told.command.done("log", "diff", "0", "--kind", "account", "-o", "jsonl")
    assert {line["kind"] for line in of_kind.lines} == {"account"}
    of_one = await told.command.done(
        "log", "diff", "0", "--id", told.story.connection_id, "-o", "jsonl"
    )
    assert {line["id"] for line in of_one.lines} == {told.story.connection_id}


async def test_no_secret_and_no_key_hash_is_in_any_answer(told: Told) -> None:
    for words in (
        ("log", "tail", "--after", "0", "-o", "json"),
        ("log", "at", "now", "connection", "-o", "json"),
        ("log", "diff", "0", "-o", "json"),
    ):
        assert "correct horse battery" not in (await told.command.done(*words)).out
