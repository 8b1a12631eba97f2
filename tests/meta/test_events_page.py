"""The contract of the log names every kind of event."""

from pathlib import Path

from catalog.codec import KINDS
from eventflows.events.v1 import events_pb2

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")


def test_every_stored_name_stands_in_the_table_of_kinds() -> None:
    table = PAGE.partition("## Kinds")[2].partition("\n## ")[0]
    names = [
        field.GetOptions().Extensions[events_pb2.stored_name]
        for field in events_pb2.Event.DESCRIPTOR.oneofs_by_name["kind"].fields
    ]
    assert len(names) == len(KINDS)
    assert [name for name in names if f"`{name}`" not in table] == []
