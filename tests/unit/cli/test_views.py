"""What people see, to the letter."""

from __future__ import annotations

from textwrap import dedent

import pytest
from eventflows.events.v1 import events_pb2
from eventflows_cli.json_shapes import Json
from eventflows_cli.kinds import in_words
from eventflows_cli.views import changes, events, results, states, statistics, transfers
from eventflows_cli.views import verification as verification_view
from rich.console import Group

from tests.unit.cli.documents import MOMENT, ZONE, drawn, event_document

HASH = "ab" * 32
ID = "5a70de97-6a30-4e0e-8f15-6f7f3b40ba0d"


def text(block: str) -> str:
    return dedent(block).strip("\n")


def test_the_tail_has_a_line_an_event() -> None:
    lines = Group(
        events.headings(),
        events.line(event_document(7), ZONE),
        events.line(event_document(1_234_567, name="south plant"), ZONE),
    )
    assert drawn(lines) == text(
        """
        POSITION   TIME                          WHO                 WHAT                                WHICH
        7          2026-11-24 10:30:00.250 CET   acme                connection updated                  plant
        1234567    2026-11-24 10:30:00.250 CET   acme                connection updated                  south plant
        """  # noqa: E501
    )


def test_every_kind_of_event_fits_its_column() -> None:
    names = events.headings().plain
    room = names.index("WHICH") - names.index("WHAT") - 2
    for field in events_pb2.Event.DESCRIPTOR.oneofs_by_name["kind"].fields:
        stored = field.GetOptions().Extensions[events_pb2.stored_name]
        assert len(in_words(stored)) <= room, stored


def test_one_event_is_shown_whole() -> None:
    assert drawn(events.events({"events": [event_document()]}, ZONE)) == text(
        """
        position        7
        time            2026-11-24 10:30:00.250 CET
        event           connection updated (connection.updated.v1)
        stream          plant (s-1)
        version         2
        actor           acme (a-1)
        key id          k-1
        command id      c-1
        correlation id  r-1
        traceparent     00-t-s-01
        data
          connection_id            s-1
          name                     plant
          bootstrap_servers        kafka1:9093, kafka2:9093
          security_protocol        sasl_ssl
          sasl_mechanism           -
          ca_certificate           -
          credentials.secret_id    x-1
          credentials.fingerprint  0000000000000000
          client_certificate       -
          group_prefix             -
        """
    )


def test_what_others_wrote_cannot_steer_a_terminal() -> None:
    evil = "\x1b[31mred\x07\x9b2J\u202e\r[bold]x[/bold]"
    for view in (
        events.line(event_document(name=evil, actor=evil), ZONE),
        events.whole(event_document(name=evil, actor=evil), ZONE),
    ):
        shown = drawn(view)
        assert not set(shown) & set("\x1b\x07\x9b\u202e\r")
        assert "\\x1b[31mred" in shown
        assert "[bold]x[/bold]" in shown


def test_a_name_with_line_breaks_takes_one_line_of_the_tail() -> None:
    assert "\n" not in drawn(events.line(event_document(name="a\nb"), ZONE))


def test_counts_of_a_moment() -> None:
    counts = {"account": 3, "topic-access": 12_345}
    assert drawn(states.counts({"moment": MOMENT, "counts": counts}, ZONE)) == text(
        """
        as of position 42 (2026-11-24 10:30:00.250 CET)

        KIND                 COUNT
        ──────────────────────────
        accounts                 3
        topics with access  12,345
        """
    )


def test_the_empty_log_has_no_time() -> None:
    nothing = {"moment": {"position": 0, "time": "1970-01-01T00:00:00.000000Z"}, "counts": {}}
    assert drawn(states.counts(nothing, ZONE)).startswith("as of position 0\n")


def item(of: str, name: str, names: dict[str, str] | None = None, /, **state: object) -> Json:
    return {"kind": of, "id": ID, "name": name, "state": state, "names": names or {}}


ROWS = {
    "account": (
        item(
            "account", "acme", kind="user", email="a@x.io", keys=[{}],
            created_time=MOMENT["time"],
        ),
        text(
            """
            NAME  KIND  EMAIL   KEYS  CREATED                      ID
            acme  user  a@x.io  1     2026-11-24 10:30:00.250 CET  5a70de97-6a30-4e0e-8f15-6f7f3b40ba0d
            """  # noqa: E501
        ),
    ),
    "algorithm": (
        item(
            "algorithm", "acme/digits", source_kind="git", builds=[1, 2],
            versions=[{"version": "0.1.0"}, {"version": "0.2.0"}], created_time=MOMENT["time"],
        ),
        text(
            """
            NAME         SOURCE  BUILDS  VERSION  CREATED                      ID
            acme/digits  git     2       0.2.0    2026-11-24 10:30:00.250 CET  5a70de97-6a30-4e0e-8f15-6f7f3b40ba0d
            """  # noqa: E501
        ),
    ),
    "connection": (
        item(
            "connection", "plant", bootstrap_servers=["k:1", "k:2"], security_protocol="sasl_ssl",
            credentials={"secret_id": "x"}, created_time=MOMENT["time"],
        ),
        text(
            """
            NAME   SERVERS   SECURITY  CREDENTIALS  CREATED                      ID
            plant  k:1, k:2  sasl_ssl  kept         2026-11-24 10:30:00.250 CET  5a70de97-6a30-4e0e-8f15-6f7f3b40ba0d
            """  # noqa: E501
        ),
    ),
    "topic-access": (
        item(
            "topic-access", "images on plant", {"al-1": "acme/digits"},
            grants=[{"algorithm_id": "al-1", "api_type": "subscriber"}],
        ),
        text(
            """
            NAME             GRANTS                  ID
            images on plant  acme/digits subscriber  5a70de97-6a30-4e0e-8f15-6f7f3b40ba0d
            """
        ),
    ),
    "flow": (
        item(
            "flow", "acme/digits ← images on plant", kind="subscriber",
            settings={"algorithm_version": ""}, paused=None,
        ),
        text(
            """
            NAME                           KIND        STATE    VERSION  ID
            acme/digits ← images on plant  subscriber  enabled  newest   5a70de97-6a30-4e0e-8f15-6f7f3b40ba0d
            """  # noqa: E501
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ROWS)
def test_things_of_a_kind_have_a_row_each(kind: str) -> None:
    given, expected = ROWS[kind]
    shown = drawn(states.things({"moment": MOMENT, "kind": kind, "items": [given]}, ZONE))
    moment, empty, headings, rule, row = shown.splitlines()
    assert moment == "as of position 42 (2026-11-24 10:30:00.250 CET)"
    assert empty == ""
    assert set(rule) == {"─"}
    assert f"{headings}\n{row}" == expected


def test_one_thing_is_shown_with_names_beside_its_ids() -> None:
    given = item(
        "flow", "acme/digits ← images on plant", {"al-1": "acme/digits"},
        algorithm_id="al-1", settings=None, enabled_time=MOMENT["time"], channel={"name": "images"},
        grants=[{"a": 1}, {"a": 2}],
    )  # fmt: skip
    assert drawn(states.thing({"moment": MOMENT, **given}, ZONE)) == text(
        """
        as of position 42 (2026-11-24 10:30:00.250 CET)

        name          acme/digits ← images on plant
        kind          flow
        algorithm_id  acme/digits (al-1)
        settings      -
        enabled_time  2026-11-24 10:30:00.250 CET
        channel.name  images
        grants.0.a    1
        grants.1.a    2
        """
    )


def change(**fields: object) -> Json:
    return {
        "kind": "flow", "id": ID, "name": "acme/digits ← images on plant", "field": "version",
        "from": "0.1.0", "to": "0.2.0", "position": 41, "time": MOMENT["time"],
        "event": "flow.enabled.v1", "actor": "a-1", "actor_name": "acme", "key_id": "k-1",
        "key_label": "deploy", "command_id": "c-1", "correlation_id": "r-1", **fields,
    }  # fmt: skip


def test_a_diff_has_a_block_a_thing_and_a_line_a_field() -> None:
    document = {
        "from": {"position": 40, "time": MOMENT["time"]},
        "to": MOMENT,
        "changes": [
            change(),
            change(field="concurrency", **{"from": "", "to": "4"}),
            change(id="x", name="plant", kind="connection", field="", key_label="", actor_name=""),
        ],
    }
    assert drawn(changes.changes(document, ZONE)) == text(
        """
        from position 40 to 42

        flow acme/digits ← images on plant
        FIELD        FROM   TO     WHO                WHEN                         POSITION
        ───────────────────────────────────────────────────────────────────────────────────
        version      0.1.0  0.2.0  acme (key deploy)  2026-11-24 10:30:00.250 CET  41
        concurrency  -      4      acme (key deploy)  2026-11-24 10:30:00.250 CET  41

        connection plant
        FIELD  FROM   TO     WHO  WHEN                         POSITION
        ───────────────────────────────────────────────────────────────
        -      0.1.0  0.2.0  a-1  2026-11-24 10:30:00.250 CET  41
        """
    )


def test_no_difference_is_said() -> None:
    document = {"from": MOMENT, "to": MOMENT, "changes": []}
    assert drawn(changes.changes(document, ZONE)).endswith("nothing differs")


def test_statistics_have_heads_that_verify_takes_and_sizes_people_read() -> None:
    document = {
        "head": {**MOMENT, "hash": HASH}, "first_position": 1, "covered_to_position": 2_000_000,
        "seals": 40, "commands": 39, "snapshot_positions": [10, 20],
        "events_of_kind": {"flow.enabled.v1": 30}, "streams_of_category": {"topic_access": 2},
        "bytes_of_table": {"events": 1_234_567, "seals": 999},
    }  # fmt: skip
    assert drawn(statistics.statistics(document, ZONE)) == text(
        f"""
        head                 42:{HASH}
        time of the head     2026-11-24 10:30:00.250 CET
        first position       1
        partitions reach to  2000000
        seals                40
        commands kept        39
        snapshots at         10, 20

        EVENTS        COUNT
        ───────────────────
        flow enabled     30

        STREAMS       COUNT
        ───────────────────
        topic access      2

        TABLE        SIZE
        ─────────────────
        events     1.2 MB
        seals   999 bytes
        """
    )


def verdict(**fields: object) -> Json:
    head = {"position": 42, "hash": HASH}
    return {
        "of": "file", "intact": True, "events": 42, "seals": 40, "head": head, "problem": "",
        **fields,
    }  # fmt: skip


def test_an_intact_log_ends_in_its_head() -> None:
    assert drawn(verification_view.verdict(verdict())) == text(
        f"""
        log     intact
        events  42
        seals   40
        head    42:{HASH}
        """
    )


def test_a_broken_log_says_where() -> None:
    broken = verdict(intact=False, problem="event 43 is missing")
    assert drawn(verification_view.verdict(broken)) == text(
        f"""
        log             BROKEN
        events          42
        seals           40
        last good seal  42:{HASH}
        problem         event 43 is missing
        """
    )


def test_an_export_says_what_it_holds() -> None:
    document = {
        "file": "log.export", "events": 1_000, "batches": 40, "secrets": 2, "recipient": "backup",
        "exported_at": MOMENT["time"], "head": {"position": 42, "hash": HASH}, "sha256": HASH,
    }  # fmt: skip
    assert drawn(transfers.exported(document, ZONE)) == text(
        f"""
        file      log.export
        events    1,000
        batches   40
        secrets   2, sealed for backup
        exported  2026-11-24 10:30:00.250 CET
        head      42:{HASH}
        SHA-256   {HASH}
        """
    )


def test_an_import_says_whose_credentials_are_missing() -> None:
    document = {
        "file": "log.export", "imported_events": 10, "imported_batches": 4,
        "registry_head": {"position": 42, "hash": HASH}, "streams_without_credentials": 3,
    }  # fmt: skip
    assert "3 connections and listeners: blocked" in drawn(transfers.imported(document))
    assert "blocked" not in drawn(
        transfers.imported({**document, "streams_without_credentials": 0})
    )


@pytest.mark.parametrize(
    ("changed", "replayed", "said"),
    [
        (True, False, "done"),
        (False, False, "nothing to do: it was so already"),
        (True, True, "done (this command was known already)"),
    ],
)
def test_what_came_of_a_command(changed: bool, replayed: bool, said: str) -> None:
    document = {
        "command_id": "c-1", "stream_id": ID, "version": 3, "position": 1_042,
        "changed": changed, "replayed": replayed,
    }  # fmt: skip
    assert drawn(results.result(document)) == text(
        f"""
        result      {said}
        stream      {ID}
        version     3
        position    1042
        command id  c-1
        """
    )
