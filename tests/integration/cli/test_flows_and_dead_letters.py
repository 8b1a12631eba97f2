"""`flow` and `dlq` on a real registry: what is asked for stands in the log, once, by the operator.

What the router tells is shown in `tests/e2e/test_flow_verbs.py`, where a router runs.
"""

from __future__ import annotations

from uuid import UUID, uuid4

from tests.integration.cli.conftest import Told

NAME = "acme/digits ← images on plant"


async def test_flows_are_listed_with_what_the_log_says_of_them(told: Told) -> None:
    ended = await told.command.done("flow", "list", "-o", "json")
    assert "the profile has no router_address" in ended.err
    (flow,) = ended.json["flows"]
    assert (flow["id"], flow["name"]) == (told.story.flow_id, NAME)
    assert (flow["state"], flow["paused"], flow["live"]) == ("enabled", None, None)
    assert (await told.command.done("flow", "list", "--state", "paused", "-o", "jsonl")).out == ""
    unknown = await told.command("flow", "list", "--algorithm", "acme/other")
    assert (unknown.code, "there is no algorithm with the name acme/other" in unknown.err) == (
        1,
        True,
    )
    words = ["--state", "enabled", "--state", "paused", "--algorithm", "acme/digits"]
    assert NAME in (await told.command.done("flow", "list", *words)).out


async def test_flows_are_listed_although_the_router_is_away(told: Told) -> None:
    words = ("--router-address", "127.0.0.1:1")
    ended = await told.command.done("flow", "list", *words, "-o", "json")
    assert "the router at 127.0.0.1:1 cannot be reached: see that it runs" in ended.err
    (flow,) = ended.json["flows"]
    assert (flow["id"], flow["state"], flow["live"]) == (told.story.flow_id, "unknown", None)
    listed = await told.command.done("flow", "list", *words, "--state", "unknown")
    assert NAME in listed.out


async def test_what_needs_the_router_says_how_to_give_its_address(told: Told) -> None:
    for words in (
        ["flow", "status", "acme/digits"],
        ["dlq", "list"],
        ["dlq", "show", "0-1"],
        ["dlq", "redrive", "acme/digits", "--dry-run"],
    ):
        ended = await told.command(*words)
        assert ended.code == 78, ended
        assert "give --router-address, set EVENTFLOWS_ROUTER_ADDRESS" in ended.err
    ended = await told.command("dlq", "list", "--router-address", "127.0.0.1:1")
    assert ended.code == 69
    assert "the router at 127.0.0.1:1 cannot be reached" in ended.err


async def test_a_flow_is_paused_and_resumed_by_any_of_its_names(told_anew: Told) -> None:
    told, id_ = told_anew, str(uuid4())
    words = ("flow", "pause", "acme/digits/images", "--drain", "--reason", "upkeep", "-o", "json")
    first = (await told.command.done(*words, "--command-id", id_)).json
    assert (first["stream_id"], first["changed"]) == (told.story.flow_id, True)
    again = (await told.command.done(*words, "--command-id", id_)).json
    assert again == {**first, "replayed": True}
    (flow,) = (await told.command.done("flow", "list", "-o", "json")).json["flows"]
    assert (flow["state"], flow["reason"], flow["paused"]["drain"]) == ("paused", "upkeep", True)
    listed = await told.command.done("log", "at", "now", "flow")
    assert "paused" in listed.out
    for which in (NAME, told.story.flow_id):
        await told.command.done("flow", "resume", which)
    (event,) = (await told.command.done("log", "tail", "-n", "1", "-o", "jsonl")).lines
    assert (event["event"], event["actor_name"]) == ("flow.resumed.v1", "service:operator")


async def test_a_flow_that_nobody_knows_is_told_so(told: Told) -> None:
    ended = await told.command("flow", "pause", "acme/other")
    assert (ended.code, "`eventflows flow list` lists them" in ended.err) == (1, True)


async def test_a_redrive_and_a_purge_are_tasks_of_the_log(told_anew: Told) -> None:
    told, id_ = told_anew, str(uuid4())
    words = (
        "dlq", "redrive", "acme/digits", "--failure", "algorithm_error", "--offsets", "5:",
        "--version", "latest", "--rate", "2.5", "--yes", "-o", "json", "--command-id", id_,
    )  # fmt: skip
    asked = (await told.command.done(*words)).json
    assert (await told.command.done(*words)).json == {**asked, "replayed": True}
    await told.command.done("dlq", "purge", told.story.flow_id, "--letter", "0-1", "-y")
    newest, oldest = (await told.command.done("dlq", "tasks", "-o", "jsonl")).lines
    assert (newest["kind"], oldest["kind"]) == ("purge", "redrive")
    assert (oldest["dead_letter_task_id"], oldest["flow_name"]) == (asked["stream_id"], NAME)
    assert (oldest["rate_per_s"], oldest["state"]) == (2.5, "requested")
    assert oldest["algorithm_version"] == "0.1.0"
    assert oldest["selection"]["failure"] == "algorithm_error"
    assert newest["selection"]["letter_ids"] == ["0-1"]
    cancelled = await told.command.done("dlq", "cancel", asked["stream_id"])
    assert asked["stream_id"] in cancelled.out
    table = (await told.command.done("dlq", "tasks", "acme/digits")).out
    assert "cancelled" in table
    listed = await told.command.done("log", "at", "now", "dead-letter-task")
    assert f"redrive of {NAME}" in listed.out


async def test_a_version_that_is_not_published_is_refused_also_of_a_dry_run(told: Told) -> None:
    for words in (["--dry-run"], ["--yes"], []):
        ended = await told.command("dlq", "redrive", "acme/digits", "--version", "9.9.9", *words)
        assert ended.code == 1, ended
        assert "there is no published version 9.9.9 of it, the newest is 0.1.0" in ended.err


async def test_a_wrong_number_or_id_is_named_as_it_was_given(told: Told) -> None:
    refused = await told.command("dlq", "redrive", "acme/digits", "--rate", "0.001", "--yes")
    assert (refused.code, "--rate" in refused.err) == (2, True), refused
    words = ("dlq", "redrive", "acme/digits", "--topic", "no topic", "--yes")
    refused = await told.command(*words)
    assert (refused.code, "--topic must be a Kafka topic name" in refused.err) == (2, True), refused
    for task in ("first", str(UUID(int=0))):
        refused = await told.command("dlq", "cancel", task)
        assert (refused.code, f"'{task}' is no id of a task" in refused.err) == (2, True), refused
    unknown = await told.command("dlq", "cancel", str(uuid4()))
    assert (unknown.code, "no dead letter task with this id" in unknown.err) == (1, True), unknown


async def test_a_flows_own_topic_is_redriven_where_it_has_one_and_never_purged(told: Told) -> None:
    ended = await told.command("dlq", "redrive", "acme/digits", "--own-topic", "--yes")
    assert (ended.code, "of its own: leave --own-topic out" in ended.err) == (1, True), ended
    ended = await told.command("dlq", "purge", "acme/digits", "--own-topic", "--yes")
    assert (ended.code, "by its retention" in ended.err) == (2, True), ended


async def test_nothing_is_purged_without_a_yes(told: Told) -> None:
    ended = await told.command("dlq", "purge", "acme/digits")
    assert ended.code == 78, "the question tells how many there are, which the router knows"
    refused = await told.command("dlq", "redrive", "acme/digits", "--failure", "bad", "--yes")
    assert (refused.code, "--failure must be one of" in refused.err) == (2, True)
    assert (await told.command.done("dlq", "tasks", "-o", "jsonl")).out == ""
