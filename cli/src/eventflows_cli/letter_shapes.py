"""Dead letters and their tasks as documents. Pure.

Bytes are hex digits, as everywhere, and text too where they are UTF-8.
"""

from __future__ import annotations

from eventflows.catalog.v1 import catalog_pb2
from eventflows.router.v1 import router_pb2

from eventflows_cli.json_shapes import Json, of_message


def of_letter(letter: router_pb2.DeadLetter) -> Json:
    """One dead letter, without the record's value."""
    shape = of_message(letter)
    if not shape.pop("has_key"):
        shape["record_key"] = None
    shape["record_key_text"] = _text(letter.record_key) if letter.has_key else None
    shape["dead_letter_task_id"] = shape["dead_letter_task_id"] or None
    return shape


def of_whole_letter(answer: router_pb2.GetDeadLetterResponse) -> Json:
    """With value, headers and history."""
    return {
        **of_letter(answer.letter),
        "value": answer.value.hex() if answer.has_value else None,
        "value_text": _text(answer.value) if answer.has_value else None,
        "headers": [
            {"name": one.name, "value": one.value.hex(), "value_text": _text(one.value)}
            for one in answer.headers
        ],
        "history": [of_message(one) for one in answer.history],
        "truncated": answer.truncated,
    }


def of_task(
    task: catalog_pb2.DeadLetterTask, progress: router_pb2.DeadLetterTaskProgress | None
) -> Json:
    """A redrive or a purge; while it goes on `state` and the counts are the router's."""
    shape = of_message(task)
    shape["reason"] = shape.pop("problem")
    shape["left"] = None
    shape["worker"] = None
    if progress is not None and not task.HasField("ended_time"):
        for name in ("state", "reason", "succeeded", "failed", "worker"):
            shape[name] = getattr(progress, name) or shape[name]
        shape["left"] = progress.left if progress.left >= 0 else None
    return shape


def _text(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
