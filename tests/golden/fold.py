"""`python -m tests.golden.fold`: note what this build's fold makes of a fixed history.

The note goes into `fold.json`. Run it after FOLD_VERSION of `catalog.snapshot` was raised, or after
a record of the catalog changed its shape (FOLD changes by itself then).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from catalog import events, snapshot
from catalog.catalog import Catalog
from catalog.codec import recorded_from_message, recorded_to_message
from catalog.events import ApiType, BrokerKind

from tests.golden.samples import SAMPLES
from tests.support.event_log import EventLog, flow_id_of, id_of

NOTE = Path(__file__).parent / "fold.json"


def history() -> EventLog:
    """Everything that `apply` knows, some of it several times and in unusual order."""
    log = EventLog()
    log.account("acme")
    log.key("acme", "first", sha256=b"1" * 32)
    key_id = log.key("acme", "second", sha256=b"2" * 32)
    log.add(id_of("acme"), events.ApiKeyRevoked(account_id=id_of("acme"), key_id=key_id))
    for name in ("acme/digits", "acme/labels"):
        log.algorithm(name, "0.1.0", "0.2.0")
    for number in range(12):
        log.build("acme/digits", f"build {number}", succeeded=number % 2 == 0, log="x" * number)
    for name in ("plant", "depot"):
        log.connection(name, secured=True)
    for topic in ("red", "green", "blue"):
        log.subscribe("plant", topic, "acme/digits")
        log.publish_to("depot", topic, "acme/labels")
    log.grant("plant", "red", "acme/labels", ApiType.DEAD_LETTER)
    log.enable(flow_id_of("plant", "red", "acme/digits", ApiType.SUBSCRIBER), "0.1.0")
    log.disable(flow_id_of("plant", "green", "acme/digits", ApiType.SUBSCRIBER))
    log.enable(flow_id_of("plant", "green", "acme/digits", ApiType.SUBSCRIBER), dead_letters="blue")
    log.delete(flow_id_of("plant", "blue", "acme/digits", ApiType.SUBSCRIBER))
    log.set_access("plant", "red")
    log.chain("acme/digits", "acme/labels")
    queue = log.listener("acme/digits", "sb://queue.example.test/2", BrokerKind.SERVICE_BUS)
    log.add(queue, events.FlowCredentialsShredded(flow_id=queue))
    log.delete(log.listener("acme/digits", "https://queue.example.test/1", BrokerKind.SQS))
    log.add(
        id_of("plant"),
        events.ConnectionCredentialsShredded(connection_id=id_of("plant")),
    )
    log.delete_connection("depot")
    red = flow_id_of("plant", "red", "acme/digits", ApiType.SUBSCRIBER)
    log.pause(red, drain=True, reason="first")
    log.pause(red, reason="second")
    log.disable(red)
    green = flow_id_of("plant", "green", "acme/digits", ApiType.SUBSCRIBER)
    log.pause(green)
    log.resume(green)
    log.finish(log.redrive(red, "first redrive"), succeeded=3, failed=1)
    log.cancel(log.redrive(red, "second redrive", version="0.1.0"))
    log.purge(green)
    for event in SAMPLES:
        log.add("samples", event)
    return log


def current() -> dict[str, str]:
    """The name of this build's fold, and the SHA-256 of its dump of the history."""
    catalog = Catalog()
    for recorded in history().recorded:
        # As it comes from the log: nothing is shared that only this test would share.
        catalog.apply(recorded_from_message(recorded_to_message(recorded)))
    dumped = b"".join(snapshot.dump(catalog))
    return {"fold": snapshot.FOLD, "sha256": hashlib.sha256(dumped).hexdigest()}


if __name__ == "__main__":
    NOTE.write_text(json.dumps(current(), indent=2) + "\n")
