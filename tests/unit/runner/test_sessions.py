"""Sessions are counted by account and in all, and given back once."""

from __future__ import annotations

import pytest
from kernel.errors import Overloaded
from runner.domain.sessions import Sessions


def test_an_account_has_so_many_sessions_and_no_more() -> None:
    sessions = Sessions(per_account_max=2)
    first = sessions.open("a")
    sessions.open("a")
    with pytest.raises(Overloaded) as refused:
        sessions.open("a")
    assert refused.value.retry_after_s > 0
    sessions.open("b")
    first.close()
    sessions.open("a")


def test_all_accounts_together_have_a_limit() -> None:
    sessions = Sessions(per_account_max=2, total_max=2)
    sessions.open("a")
    sessions.open("b")
    with pytest.raises(Overloaded):
        sessions.open("c")


def test_closing_twice_gives_back_once() -> None:
    sessions = Sessions(per_account_max=2)
    kept, closed = sessions.open("a"), sessions.open("a")
    kept.hold(5)
    closed.hold(3)
    closed.close()
    closed.close()
    assert (sessions.of_account("a"), sessions.total, sessions.input_bytes) == (1, 1, 5)


def test_input_in_flight_has_a_limit_and_what_was_refused_is_not_counted() -> None:
    sessions = Sessions(per_account_max=2, bytes_max=10)
    session = sessions.open("a")
    session.hold(8)
    with pytest.raises(Overloaded):
        session.hold(3)
    session.hold(2)
    session.close()
    assert sessions.input_bytes == 0
