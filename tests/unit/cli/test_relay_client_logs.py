"""aiokafka's own warnings: heard, and not again and again."""

from __future__ import annotations

import logging

from eventflows_cli.relay.client_logs import AGAIN_AFTER_S, KNOWN_MAX, client_logs
from servicekit.logs import hide

log = logging.getLogger("aiokafka.client")


def test_a_warning_is_heard_once_a_minute() -> None:
    heard: list[str] = []
    now_s = 0.0
    with client_logs(heard.append, clock=lambda: now_s):
        for _ in range(10):
            log.error("Unable connect to node with id %s", 1)
            log.warning("Unable to update metadata")
            log.info("nobody needs this")
        assert heard == ["Unable connect to node with id 1", "Unable to update metadata"]
        now_s += AGAIN_AFTER_S
        log.error("Unable connect to node with id %s", 1)
    assert len(heard) == 3


def test_it_remembers_a_bounded_number_and_shows_no_secret() -> None:
    heard: list[str] = []
    hide("a-password-of-a-relay")
    with client_logs(heard.append, clock=lambda: 0.0):
        for number in range(KNOWN_MAX + 1):
            log.error("a-password-of-a-relay %s", number)
    assert len(heard) == KNOWN_MAX + 1
    assert heard[0] == "[hidden] 0"


def test_afterwards_logs_go_where_they_went() -> None:
    library = logging.getLogger("aiokafka")
    before = (library.propagate, tuple(library.handlers))
    with client_logs(print):
        pass
    assert (library.propagate, tuple(library.handlers)) == before
