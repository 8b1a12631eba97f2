"""Every line is JSON with a time and a trace id, and holds no secret, wherever it came from."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from servicekit import logs
from servicekit.logs import (
    SECRETS_MAX,
    VALUE_CHARACTERS_MAX,
    SecretRegister,
    bind_trace,
    configure_logs,
    current_trace,
    hide,
    redact,
)
from servicekit.trace import Traceparent

SECRET = 'pa"ss\\wörd\n/100%'
TRACE = Traceparent(trace_id="4bf92f3577b34da6a3ce929d0e0e4736", span_id="00f067aa0ba902b7")


class Lines:
    """What was logged, parsed."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def last(self) -> dict[str, Any]:
        return self.all()[-1]


@pytest.fixture
def lines() -> Iterator[Lines]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.QUIET_LOGGERS}
    written = Lines()
    configure_logs(service="example", level="info", stream=written.stream)
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_our_own_lines_are_json_with_all_that_is_promised(lines: Lines) -> None:
    structlog.get_logger("router.pump").info("settled", offset=7)
    line = lines.last()
    assert datetime.fromisoformat(line.pop("time")).tzinfo == UTC
    assert line == {
        "event": "settled",
        "offset": 7,
        "level": "info",
        "logger": "router.pump",
        "service": "example",
    }


def test_lines_of_libraries_look_the_same(lines: Lines) -> None:
    logging.getLogger("asyncpg").warning("lost %s", "connection", extra={"host": "db"})
    line = lines.last()
    assert (line["event"], line["level"], line["host"]) == ("lost connection", "warning", "db")
    assert line["service"] == "example"


@pytest.mark.parametrize("name", ["aiokafka.consumer", "faust.worker", "grpc._cython", "asyncio"])
def test_talkative_libraries_are_heard_from_warning_on(lines: Lines, name: str) -> None:
    logging.getLogger(name).info("joined group")
    logging.getLogger(name).warning("left group")
    assert [line["event"] for line in lines.all()] == ["left group"]


async def test_a_bound_trace_is_in_every_line_of_its_context(lines: Lines) -> None:
    async def traced() -> None:
        bind_trace(TRACE)
        assert current_trace() == TRACE
        logging.getLogger("x").info("inside")

    await asyncio.create_task(traced())
    logging.getLogger("x").info("outside")
    inside, outside = lines.all()
    assert inside["trace_id"] == TRACE.trace_id
    assert "trace_id" not in outside


def test_a_secret_is_hidden_in_messages_fields_and_tracebacks(lines: Lines) -> None:
    hide(SECRET)
    log = structlog.get_logger("x")
    log.info(f"connecting with {SECRET}")
    log.info("connecting", password=SECRET, options={"nested": [SECRET]}, url=quote(SECRET, ""))
    logging.getLogger("aiokafka").warning("bad %r", SECRET)
    try:
        raise ValueError(f"cannot log in with {SECRET!r}")
    except ValueError:
        log.exception("failed")
        logging.getLogger("aiokafka").exception("failed", extra={"what": SECRET})
    assert lines.text.count("[hidden]") >= 8
    for part in ("pa\\", "wörd", "100%", quote("wörd")):
        assert part not in lines.text
    assert "ValueError" in lines.last()["exception"]


@given(st.text(min_size=6, max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_no_form_of_a_hidden_value_survives(secret: str, before: str, after: str) -> None:
    register = SecretRegister()
    register.hide(secret)
    text = before + secret + after
    for written in (text, before + repr(secret)[1:-1] + after, before + quote(secret, "") + after):
        for form in (written, json.dumps(written)):
            assert "[hidden]" in register.redact(form)


@pytest.mark.parametrize("secret", ["000000", '", "', '"event"', '{"k": "', "\\u001b", '": "vv"'])
def test_a_secret_never_makes_a_line_unreadable(
    lines: Lines, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_register", SecretRegister())
    hide(secret)
    structlog.get_logger("x").info("e", k="v" + secret, deep={"k": [{secret: ("\x1b0000001", 1)}]})
    assert lines.last()["event"] == "e"


def test_what_is_not_json_is_written_as_its_repr(lines: Lines) -> None:
    hide("bytes-secret")
    deep: Any = {"a": {"b": {"c": {"d": {"e": "bytes-secret"}}}}}
    structlog.get_logger("x").info("e", raw=b"bytes-secret", ids={7}, deep=deep, ok=True, n=1.5)
    line = lines.last()
    assert (line["raw"], line["ids"], line["ok"], line["n"]) == ("b'[hidden]'", "{7}", True, 1.5)
    assert "bytes-secret" not in lines.text


def test_a_secret_inside_another_leaves_no_rest() -> None:
    hide("inner-secret")
    hide("outer-inner-secret-outer")
    assert redact("<outer-inner-secret-outer>") == "<[hidden]>"


def test_a_single_line_of_a_key_is_hidden_and_what_frames_it_is_shown() -> None:
    register = SecretRegister()
    lines = ["-----BEGIN PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0B+/==", "short", ""]
    register.hide("\r\n".join(lines))
    for form in (lines[1], quote(lines[1], safe="")):
        assert register.redact(f"cannot read {form}!") == "cannot read [hidden]!"
    assert register.redact(f"no {lines[0]}: short") == f"no {lines[0]}: short"


def test_short_values_are_left_alone() -> None:
    hide("topic")
    assert redact("topic orders") == "topic orders"


def test_the_register_is_bounded_and_keeps_the_newest() -> None:
    register = SecretRegister(secrets_max=3)
    for number in range(3):
        register.hide(f"secret-{number}")
    register.hide("secret-0")  # seen again: newest
    register.hide("secret-3")
    assert register.redact("secret-0 secret-1 secret-3") == "[hidden] secret-1 [hidden]"
    assert SECRETS_MAX >= 200, "a router worker may hold 200 flows, each with its credential"


def test_a_long_value_is_cut_and_no_half_secret_stays(lines: Lines) -> None:
    hide("half-secret-0123456789")
    text = "~" * (VALUE_CHARACTERS_MAX - 5) + "half-secret-0123456789"
    structlog.get_logger("x").info("big", body=text)
    body = lines.last()["body"]
    assert len(body) == VALUE_CHARACTERS_MAX + 1
    assert "half-" not in body


def test_configuring_again_replaces_and_does_not_double(lines: Lines) -> None:
    configure_logs(service="example", level="warning", stream=lines.stream)
    structlog.get_logger("x").info("not heard")
    structlog.get_logger("x").warning("heard")
    assert [line["event"] for line in lines.all()] == ["heard"]


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        configure_logs(service="example", level="loud")
