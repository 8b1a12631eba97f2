"""Pure rules: keys, intents, pages."""

from __future__ import annotations

import random
import re
from hashlib import sha256
from uuid import UUID

import pytest
from gateway.domain.caller import key_digest
from gateway.domain.intent import intent
from gateway.domain.paging import PageRequest, paginate
from hypothesis import given
from hypothesis import strategies as st
from kernel.api_keys import new_key
from kernel.errors import InvalidInput, Unauthenticated

FIXED = UUID("00000000-0000-4000-8000-000000000001")


def test_a_key_is_what_the_official_clients_expect() -> None:
    key = new_key(random.Random(1).choice)
    assert re.fullmatch(r"sim[0-9A-Za-z]{25}", key.clear)
    assert key.sha256 == sha256(key.clear.encode()).digest()
    assert key.clear not in repr(key)
    assert key.mask.endswith(key.clear[-4:])
    assert key.clear[3:-4] not in key.mask


@pytest.mark.parametrize("form", ["{}", "Simple {}", "simple  {}", " Simple {} ", "SIMPLE {}"])
def test_a_key_may_come_bare_or_with_its_scheme(form: str) -> None:
    assert key_digest(form.format("simABC")) == sha256(b"simABC").digest()


@pytest.mark.parametrize("value", [None, "", "  "])
def test_no_key_is_told_how_to_send_one(value: str | None) -> None:
    with pytest.raises(Unauthenticated, match="Authorization: Simple KEY"):
        key_digest(value)


def test_a_bearer_token_is_told_that_it_comes_too_early() -> None:
    with pytest.raises(Unauthenticated, match="not supported yet"):
        key_digest("Bearer a.b.c")


def wish(*, account: str = "a", operation: str = "POST /x", key: str | None = "k") -> UUID:
    return intent(
        account_id=account,
        operation=operation,
        idempotency_key=key,
        random_uuid=lambda: FIXED,
        request_id="req-1",
    ).command_id


def test_a_command_id_follows_from_account_operation_and_key() -> None:
    assert wish() == wish()
    others = {wish(account="b"), wish(operation="PUT /x"), wish(key="l")}
    assert len({wish(), *others}) == 4
    assert wish(key=None) == FIXED


def test_ids_of_new_things_follow_from_the_command_id() -> None:
    one, two = (
        intent(
            account_id="a", operation="o", idempotency_key="k", random_uuid=lambda: FIXED,
            request_id=request_id,
        )
        for request_id in ("req-1", "req-2")
    )  # fmt: skip
    assert one.new_id("flow") == two.new_id("flow") != one.new_id("key")
    assert UUID(one.new_id("flow"))


@given(
    st.sets(st.tuples(st.text(), st.integers())),
    st.integers(1, 500),
    st.booleans(),
)
def test_pages_hold_every_item_once_and_in_order(
    items: set[tuple[str, int]], limit: int, descending: bool
) -> None:
    seen: list[tuple[str, int]] = []
    marker: str | None = ""
    while marker is not None:
        request = PageRequest(limit=limit, marker=marker)
        page = paginate(items, request, key=lambda item: item, descending=descending)
        assert len(page.items) <= limit
        seen += page.items
        marker = page.marker
    assert seen == sorted(items, reverse=descending)


def test_an_item_that_goes_between_two_pages_hides_no_other() -> None:
    first = paginate([1, 2, 3, 4], PageRequest(limit=2), key=lambda item: (item,))
    assert first.items == (1, 2)
    second = paginate(
        [3, 4, 5], PageRequest(limit=2, marker=first.marker or ""), key=lambda item: (item,)
    )
    assert second.items == (3, 4)


@pytest.mark.parametrize("marker", ["!", "e30", "WzEuNV0", "WyJhIl0"])
def test_a_marker_of_another_kind_is_refused(marker: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        paginate([1], PageRequest(marker=marker), key=lambda item: (item,))
    assert refused.value.code == 5002
