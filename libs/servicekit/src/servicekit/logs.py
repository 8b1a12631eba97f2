"""Logs are JSON lines, one renderer for all libraries, with known secrets taken out.

`hide(secret)` registers a value when it enters the process; the renderer replaces it in every
finished line, tracebacks included, so no caller has to think of it. The price: a search per secret
and line, so the number of secrets is bounded, and values that were never registered are not found.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections import OrderedDict
from contextvars import ContextVar
from types import TracebackType
from typing import Final, TextIO
from urllib.parse import quote

import structlog
from structlog.typing import EventDict, Processor

from servicekit.trace import Traceparent

HIDDEN: Final = "[hidden]"
SECRET_CHARACTERS_MIN: Final = 6
"""Shorter values are not hidden: they would tear ordinary words apart, and are no secrets."""
SECRETS_MAX: Final = 1_000
"""The secret that was registered longest ago makes room for the next."""
LINE_CHARACTERS_MAX: Final = 64 * 1024

QUIET_LOGGERS: Final = (
    "aiokafka",
    "kafka",
    "faust",
    "mode",
    "grpc",
    "asyncio",
    "urllib3",
    "_granian",
)
"""Libraries that talk too much at `info`: they are heard from `warning` on."""

_secrets: OrderedDict[str, tuple[str, ...]] = OrderedDict()
_secrets_lock = threading.Lock()
_forms: tuple[str, ...] = ()
_trace: ContextVar[Traceparent | None] = ContextVar("trace", default=None)


def hide(secret: str) -> None:
    """From now on `secret` appears as `[hidden]` in every line and in `redact`. Thread-safe.

    Values shorter than SECRET_CHARACTERS_MIN are ignored.
    """
    global _forms  # one register per process, as there is one root logger
    if len(secret) < SECRET_CHARACTERS_MIN:
        return
    with _secrets_lock:
        _secrets.pop(secret, None)
        _secrets[secret] = _written_forms(secret)
        while len(_secrets) > SECRETS_MAX:
            _secrets.popitem(last=False)
        # Longest first: a secret that contains another one must not be half shown.
        _forms = tuple(sorted({f for fs in _secrets.values() for f in fs}, key=len, reverse=True))


def redact(text: str) -> str:
    """`text` with every registered secret replaced by `[hidden]`."""
    for form in _forms:
        if form in text:
            text = text.replace(form, HIDDEN)
    return text


def configure_logs(*, service: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Sends structlog and the standard library's logging as JSON lines to `stream` (stderr).

    Each line has `time` (ISO 8601, UTC), `level`, `service`, `event`, `logger`, and what is bound
    by `structlog.contextvars` (`trace_id`). May be called again; the last call holds. Raises
    ValueError for an unknown level.
    """
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(_formatter(service))
    root = logging.getLogger()
    root.setLevel(level.upper())
    for old in root.handlers[:]:
        if isinstance(old.formatter, _RedactingFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*_shared_processors(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def log_what_nobody_catches() -> None:
    """Warnings and uncaught exceptions, of threads too, become log lines: redacted like the rest.

    For the whole process, so only its `__main__` does this (`run_service`).
    """
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def bind_trace(trace: Traceparent) -> None:
    """From now on lines of this context (task, call) have `trace_id`, and its calls carry it on."""
    _trace.set(trace)
    structlog.contextvars.bind_contextvars(trace_id=trace.trace_id)


def current_trace() -> Traceparent | None:
    """What `bind_trace` bound in this context."""
    return _trace.get()


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Redacts the finished line, whatever it was made from, and bounds its length."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _formatter(service: str) -> logging.Formatter:
    def add_service(_logger: object, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    return _RedactingFormatter(
        foreign_pre_chain=[*_shared_processors(), structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            add_service,
            structlog.processors.format_exc_info,
            _bound_lengths,
            structlog.processors.JSONRenderer(serializer=_json),
        ],
    )


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]


def _bound_lengths(_logger: object, _method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if isinstance(value, str) and len(value) > LINE_CHARACTERS_MAX:
            # Redact before the cut: half a secret would not be recognised after it.
            event[key] = redact(value)[:LINE_CHARACTERS_MAX] + "…"
    return event


def _json(event: EventDict, **_options: object) -> str:
    return json.dumps(event, ensure_ascii=False, default=repr)


def _written_forms(secret: str) -> tuple[str, ...]:
    """How a value may stand in a line: bare, in repr, in a URL, and each of them inside JSON."""
    bare = {secret, repr(secret)[1:-1], quote(secret, safe="")}
    return tuple(bare | {json.dumps(form, ensure_ascii=False)[1:-1] for form in bare})


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    logging.getLogger("servicekit").critical(
        "uncaught exception", exc_info=(kind, error, traceback)
    )


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    error = args.exc_value if args.exc_value is not None else args.exc_type()
    _log_uncaught(args.exc_type, error, args.exc_traceback)
