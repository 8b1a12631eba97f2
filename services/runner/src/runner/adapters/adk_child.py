"""Runs inside an algorithm's own environment: imports its module and lets it answer requests.

    <environment>/bin/python -I -X utf8 adk_child.py FIFO MODULE

Standard library only, Python 3.8 or newer. Three things make the unmodified `algorithmia-adk` run
here (`algorithmia-api.md` 4.6), without authors changing code:

1. Its FIFO is hard-coded as /tmp/algoout. The instance attributes that its constructor sets are put
   right, so every process has a FIFO of its own.
2. It calls `traceback.format_exception(etype=…)`, a keyword that Python 3.10 took away; without it
   the first algorithm error would kill the process.
3. `Algorithmia` must be imported before `adk`: the other way round their circular import leaves
   the module where `Algorithmia.ADK` should be the class.

The first line in the FIFO is ours and tells whether loading worked: `{"loaded":true}` or
`{"loaded":false,"error":{…}}`. What was printed is flushed before each answer, so it belongs to
it. A module without an ADK is the legacy form: its `apply` is served by our own loop.
"""

from __future__ import annotations

import base64
import importlib
import importlib.util
import inspect
import json
import os
import sys
import traceback
from contextlib import suppress
from types import ModuleType
from typing import Any, Callable  # noqa: UP035  Python 3.8 reads this file

_format_exception = traceback.format_exception
_reported = False
_served = False


def main(fifo: str, module_name: str) -> None:
    """Import the module and serve it until stdin ends."""
    root = os.getcwd()
    sys.path.insert(0, root)
    sys.argv = [os.path.join(root, *module_name.split(".")) + ".py"]
    traceback.format_exception = format_exception
    if importlib.util.find_spec("adk") is not None:
        _adapt_adk(fifo)
    module = importlib.import_module(module_name)
    if not _served:
        _serve_legacy(module, fifo)


def format_exception(*args: Any, **options: Any) -> Any:
    """`traceback.format_exception` that still takes `etype=`, as before Python 3.10."""
    if "etype" in options:
        args = (options.pop("etype"), *args)
        for name in ("value", "tb"):
            if name in options:
                args = (*args, options.pop(name))
    return _format_exception(*args, **options)


def _adapt_adk(fifo: str) -> None:
    try:
        importlib.import_module("Algorithmia")
    except ModuleNotFoundError as error:
        if error.name == "Algorithmia":
            error.msg += ": algorithmia-adk imports it; add `algorithmia` to requirements.txt"
        raise
    module = importlib.import_module("adk.ADK")
    kind = module.ADK
    create = module.create_exception
    construct, load, write_to_pipe, init = kind.__init__, kind.load, kind.write_to_pipe, kind.init

    def construct_here(self: Any, *args: Any, **options: Any) -> None:
        construct(self, *args, **options)
        self.FIFO_PATH = fifo
        self.is_local = False

    def load_and_report(self: Any) -> None:
        load(self)
        failure = self.loading_exception
        _report(fifo, None if failure is None else _error(failure, "LoadingError"))

    def write_flushed(self: Any, payload: Any, *args: Any, **options: Any) -> None:
        _flush()
        write_to_pipe(self, payload, *args, **options)

    def init_once(self: Any, *args: Any, **options: Any) -> None:
        global _served
        _served = True
        init(self, *args, **options)

    def create_exception(error: Any, *args: Any, **options: Any) -> Any:
        if isinstance(error, MemoryError):  # its message is empty and it has no type
            return json.dumps({"error": _error(error, "OutOfMemoryError")})
        return create(error, *args, **options)

    module.create_exception = create_exception  # type: ignore[attr-defined]
    kind.__init__, kind.load = construct_here, load_and_report
    kind.write_to_pipe, kind.init = write_flushed, init_once
    module.print = _print_without_marker  # type: ignore[attr-defined]


def _print_without_marker(*values: Any, **options: Any) -> None:
    """The ADK announces itself on stdout; our report in the FIFO says more."""
    if values != ("PIPE_INIT_COMPLETE",):
        print(*values, **options)


def _serve_legacy(module: ModuleType, fifo: str) -> None:
    if not callable(getattr(module, "apply", None)):
        raise SystemExit(
            module.__name__ + " neither calls ADK(apply).init() nor defines apply(input)"
        )
    load_function, loaded, failure = getattr(module, "load", None), None, None
    try:
        loaded = load_function() if callable(load_function) else None
    except Exception as error:  # noqa: BLE001  every request is answered with it
        failure = _error(error, "LoadingError")
    _report(fifo, failure)
    takes_two = len(inspect.getfullargspec(module.apply).args) == 2
    for line in sys.stdin:
        request = json.loads(line)
        if failure is None:
            answer = _apply(module.apply, request, (loaded,) if takes_two else ())
        else:
            answer = json.dumps({"error": failure})
        _flush()
        _write(fifo, answer)


def _apply(function: Callable[..., Any], request: dict[str, Any], more: tuple[Any, ...]) -> str:
    try:
        data = request["data"]
        if request["content_type"] == "binary":
            data = base64.b64decode(data)
        result, kind = function(data, *more), "json"
        if isinstance(result, (bytes, bytearray)):
            result, kind = base64.b64encode(result).decode("ascii"), "binary"
        elif isinstance(result, str):
            kind = "text"
        return json.dumps({"result": result, "metadata": {"content_type": kind}})
    except Exception as error:  # noqa: BLE001  it is the answer
        return json.dumps({"error": _error(error, "AlgorithmError")})


def _error(error: BaseException, default_type: str) -> dict[str, str]:
    kind = getattr(error, "error_type", None)
    if isinstance(error, MemoryError) and kind is None:
        kind = "OutOfMemoryError"
    trace = _format_exception(type(error), error, error.__traceback__)
    return {
        "message": str(error) or type(error).__name__,
        "error_type": kind if isinstance(kind, str) else default_type,
        "stacktrace": "".join(trace),
    }


def _report(fifo: str, failure: dict[str, str] | None) -> None:
    global _reported
    if not _reported:
        _reported = True
        _flush()
        _write(fifo, json.dumps({"loaded": failure is None, "error": failure}))


def _write(fifo: str, line: str) -> None:
    with open(fifo, "w", encoding="utf-8") as file:
        file.write(line + "\n")


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(ValueError, AttributeError):  # the author closed or replaced it
            stream.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
