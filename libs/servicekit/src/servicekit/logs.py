"""Logs are JSON lines, one renderer for all libraries, with known secrets taken out.

`hide(secret)` registers a value when it enters the process; the renderer replaces it in every value
of a line, tracebacks included, so no caller has to think of it. The price: a search per secret
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
LINE_CHARACTERS_MIN: Final = 16
"""From this length on a single line of a secret is hidden too: an error may quote one of a key."""
LINES_MAX: Final = 256
"""Of one secret are hidden one by one: enough for a key of 16,384 bits."""
SECRETS_MAX: Final = 1_000
"""The secret that was registered longest ago makes room for the next."""
VALUE_CHARACTERS_MAX: Final = 64 * 1024
"""Longer values of a line, such as tracebacks, are cut."""
NESTING_MAX: Final = 4
"""Deeper structures are written as their repr."""

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

_trace: ContextVar[Traceparent | None] = ContextVar("trace", default=None)


class SecretRegister:
    """Values to be hidden, at most `secrets_max` of them. Thread-safe."""

    def __init__(self, *, secrets_max: int = SECRETS_MAX) -> None:
        self._secrets_max = secrets_max
        self._lock = threading.Lock()
        self._forms_of: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._forms: tuple[str, ...] = ()

    def hide(self, secret: str) -> None:
        """Registers `secret`; values shorter than SECRET_CHARACTERS_MIN are ignored."""
        if len(secret) < SECRET_CHARACTERS_MIN:
            return
        with self._lock:
            self._forms_of.pop(secret, None)
            self._forms_of[secret] = _written_forms(secret)
            while len(self._forms_of) > self._secrets_max:
                self._forms_of.popitem(last=False)
            forms = {form for forms in self._forms_of.values() for form in forms}
            # Longest first: a secret that contains another one must not be half shown.
            self._forms = tuple(sorted(forms, key=len, reverse=True))

    def redact(self, text: str) -> str:
        """`text` with every registered value replaced by `[hidden]`."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, HIDDEN)
        return text


_register = SecretRegister()


def hide(secret: str) -> None:
    """From now on `secret` appears as `[hidden]` in every line and in `redact`. Thread-safe.

    Values shorter than SECRET_CHARACTERS_MIN are ignored.
    """
    _register.hide(secret)


def redact(text: str) -> str:
    """`text` with every registered secret replaced by `[hidden]`."""
    return _register.redact(text)


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
        if isinstance(old.formatter, _Formatter):
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


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Ours, so that it is recognised when logs are configured again."""


def _formatter(service: str) -> logging.Formatter:
    def add_service(_logger: object, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    return _Formatter(
        foreign_pre_chain=[*_shared_processors(), structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            add_service,
            structlog.processors.format_exc_info,
            _without_secrets,
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


def _without_secrets(_logger: object, _method: str, event: EventDict) -> EventDict:
    # Before it is JSON: a secret such as `000000` or `", "` would tear the finished text apart.
    return {redact(str(key)): _clean(value, NESTING_MAX) for key, value in event.items()}


def _clean(value: object, levels: int) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict) and levels:
        return {_clean_text(str(key)): _clean(item, levels - 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and levels:
        return [_clean(item, levels - 1) for item in value]
    return _clean_text(value if isinstance(value, str) else repr(value))


def _clean_text(text: str) -> str:
    text = redact(text)  # before the cut: half a secret would not be recognised after it
    return text if len(text) <= VALUE_CHARACTERS_MAX else text[:VALUE_CHARACTERS_MAX] + "…"


def _json(event: EventDict, **_options: object) -> str:
    return json.dumps(event, ensure_ascii=False)


def _written_forms(secret: str) -> tuple[str, ...]:
    """How a value may stand in a text: bare, in repr, in a URL, and each of them inside JSON."""
    lines = [line.strip() for line in secret.splitlines()[:LINES_MAX]]
    long = [line for line in lines if len(line) >= LINE_CHARACTERS_MIN and not _is_frame(line)]
    texts = (secret, *long) if len(lines) > 1 else (secret,)
    bare = {form for text in texts for form in (text, repr(text)[1:-1], quote(text, safe=""))}
    in_json = {
        json.dumps(form, ensure_ascii=ascii_only)[1:-1]
        for form in bare
        for ascii_only in (False, True)
    }
    return tuple(bare | in_json)


def _is_frame(line: str) -> bool:
    """Is it a line that every PEM text has? It is no secret, and it tells what an error is of."""
    return line.startswith("-----")


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    logging.getLogger("servicekit").critical(
        "uncaught exception", exc_info=(kind, error, traceback)
    )


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    error = args.exc_value if args.exc_value is not None else args.exc_type()
    _log_uncaught(args.exc_type, error, args.exc_traceback)
