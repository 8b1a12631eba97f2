"""What a single value must look like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel.errors import EventflowsError, InvalidInput
from registry.domain import claim, values

GOOD: list[tuple[Callable[[str], Any], str]] = [
    (values.username, "a"),
    (values.username, "A_9" * 10),
    (values.email, "name@host"),
    (values.git_url, "https://git.example.test/echo.git"),
    (values.git_url, "ssh://git@git.example.test:2222/echo.git"),
    (values.git_url, "git@git.example.test:team/echo.git"),
    (values.git_url, "file:///srv/git/echo"),
    (values.endpoint_url, "http://127.0.0.1:8000/v1/predict?model=a"),
    (values.commit_sha, "0123456789abcdef0123456789abcdef01234567"),
    (lambda v: values.semantic_version("v", v), "0.10.2"),
    (lambda v: values.topic("t", v), "a.b_c-9"),
    (lambda v: values.topic("t", v), "t" * 249),
    (lambda v: values.bootstrap_servers([v]), "[::1]:9092"),
    (lambda v: values.bootstrap_servers([v]), "kafka-1.example.test:9093"),
    (values.role_arn, "arn:aws-us-gov:iam::111122223333:role/path/reader"),
    (values.service_bus_queue, "orders/eu.1"),
]
BAD: list[tuple[Callable[[str], Any], str]] = [
    (values.username, ""),
    (values.username, "a" * 31),
    (values.username, "9a"),
    (values.username, "a-b"),
    (values.username, "a\n"),
    (values.username, "ä"),
    (values.email, "name"),
    (values.email, "a@b@c"),
    (values.email, "a b@c"),
    (values.email, "a@" + "b" * 253),
    (values.git_url, "http://git.example.test/echo.git"),
    (values.git_url, "https://user:token@git.example.test/echo.git"),
    (values.git_url, "https://token@git.example.test/echo.git"),
    (values.git_url, "ssh://git:pw@git.example.test/echo.git"),
    (values.git_url, "ext::sh -c x"),
    (values.git_url, "--upload-pack=x"),
    (values.git_url, "/srv/git/echo"),
    (values.git_url, "file://srv"),
    (values.git_url, "https://"),
    (values.git_url, "https://host:99999/x"),
    (values.git_url, "https://host/x#y"),
    (values.endpoint_url, "file:///etc/passwd"),
    (values.endpoint_url, "http://u:p@host/"),
    (values.endpoint_url, "http://host/a b"),
    (values.commit_sha, "0123456"),
    (values.commit_sha, "0123456789ABCDEF0123456789abcdef01234567"),
    (lambda v: values.semantic_version("v", v), "01.0.0"),
    (lambda v: values.semantic_version("v", v), "1.0"),
    (lambda v: values.semantic_version("v", v), "1.0.0-rc1"),
    (lambda v: values.topic("t", v), ""),
    (lambda v: values.topic("t", v), "."),
    (lambda v: values.topic("t", v), "t" * 250),
    (lambda v: values.bootstrap_servers([v]), "kafka"),
    (lambda v: values.bootstrap_servers([v]), "kafka:0"),
    (lambda v: values.bootstrap_servers([v]), "kafka:65536"),
    (lambda v: values.bootstrap_servers([v]), "kafka:9_2"),
    (lambda v: values.bootstrap_servers([v]), "ka/fka:9092"),
    (lambda v: values.bootstrap_servers([v, v]), "kafka:9092"),
    (lambda v: values.uuid("u", v), "not-a-uuid"),
    (lambda v: values.uuid("u", v), "6F1C2B0E-52A5-5D0C-9D57-3F3B8A3C6E11"),
    (lambda v: values.uuid("u", v), "00000000-0000-0000-0000-000000000000"),
    (lambda v: values.line("l", v), "two\nlines"),
    (lambda v: values.text("t", v), "\x00"),
    (values.role_arn, "arn:aws:iam::1:role/reader"),
    (values.service_bus_queue, "-orders"),
]


@pytest.mark.parametrize(("check", "value"), GOOD)
def test_a_good_value_is_returned(check: Callable[[str], Any], value: str) -> None:
    assert check(value) in (value, (value,))


@pytest.mark.parametrize(("check", "value"), BAD)
def test_a_bad_value_is_refused(check: Callable[[str], Any], value: str) -> None:
    with pytest.raises(InvalidInput):
        check(value)


@given(st.text(max_size=400))
def test_no_text_at_all_breaks_a_check(value: str) -> None:
    for check in {check for check, _ in GOOD + BAD}:
        message = ""
        try:
            check(value)
        except EventflowsError as error:
            message = error.message
        assert len(value) < 20 or value not in message


def test_every_taken_name_has_its_own_words() -> None:
    claims = {
        claim.account_name("A"): 3003,
        claim.account_email("a/b@c"): 3004,
        claim.algorithm("owner", "Echo"): 1002,
        claim.connection_name("a/b"): 9009,
        claim.api_key(b"\x00"): 9009,
    }
    assert {name: claim.taken(name).code for name in claims} == claims
    assert len({claim.taken(name).message for name in claims}) == len(claims)
