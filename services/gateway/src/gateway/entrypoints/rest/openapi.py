"""OpenAPI 3.1 from the table of operations and the types of the bodies and answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.entrypoints.rest import wire
from gateway.entrypoints.rest.operation import KeyKind, Operation

API_VERSION = "1.0.0"
_REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)\}")
_QUERY = {
    "limit": "how many items at most",
    "marker": "`marker` of the page before",
    "as_of": "position of the log or RFC 3339 time: the answer is as of then, now if left out",
    "kind": "only of this kind: account, algorithm, connection, topic_access, flow or "
    "dead_letter_task",
    "id": "only the thing with this id",
    "actor": "only what this user (name or id) or `service:ROLE` did",
    "from": "position of the log or RFC 3339 time",
    "to": "position of the log or RFC 3339 time; now if left out",
    "state": "only those in this state; of dead letters: open if left out, redriven or purged",
    "algorithm": "only those of this `owner/name`",
    "flow": "only those of the flow with this id",
    "since": "RFC 3339 time: only what was given up then or later",
    "until": "RFC 3339 time: only what was given up before",
    "failure": "only with this class of the last failure, such as algorithm_error or timed_out",
    "error_type": "only with this type of an algorithm's error",
    "key": "only of records with this key, as text",
    "key_base64": "only of records with this key, as base64",
    "topic": "only of records of this topic",
    "partition": "only of records of these partitions, several with commas",
    "offset_first": "only of records from this offset on",
    "offset_last": "only of records up to this offset",
    "own_topic": "`true`: scan the flow's own dead letter topic",
    "timeout": "seconds a run may take, at most 3000",
    "output": "`raw` or `void`",
    "stdout": "`true`: with what the algorithm printed",
}


def openapi(operations: Sequence[Operation], *, public_url: str) -> dict[str, Any]:
    """The document. Every operation has exactly one place in it."""
    types = {operation.answer for operation in operations if operation.answer is not None}
    types |= {operation.dry_answer for operation in operations if operation.dry_answer is not None}
    types |= {operation.body for operation in operations if operation.body is not None}
    ordered = [*sorted(types, key=str), wire.Error, wire.Health]
    schemas, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    schema_of = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = paths.setdefault(operation.path, {})
        path[operation.method.lower()] = _operation(operation, schema_of)
    for path_name, name in (("/healthz", "healthy"), ("/readyz", "ready")):
        paths[path_name] = {"get": _open(name, schema_of[wire.Health])}
    paths["/v1/openapispec"] = {"get": _open("spec", {"type": "object"})}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Event Flows", "version": API_VERSION},
        "servers": [{"url": public_url}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                kind.value: {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": f"`Simple KEY` or `KEY`; an API key of the kind {kind.value}",
                }
                for kind in (KeyKind.STANDARD, KeyKind.ADMIN)
            },
        },
    }


def _operation(operation: Operation, schema_of: dict[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _operation_id(operation),
        "summary": operation.summary,
        "security": [{operation.key.value: []}],
        "parameters": [*_path_parameters(operation), *_other_parameters(operation)],
        "responses": {
            str(operation.status): {
                **_response(operation, schema_of),
                "headers": _headers(operation),
            },
            **_dry_response(operation, schema_of),
            "default": {
                "description": "an error; the message says what to do",
                "content": _json(schema_of[wire.Error]),
            },
        },
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": _has_required_fields(operation.body),
            "content": _json(schema_of[operation.body]),
        }
    elif operation.method == "POST":
        media_types = ("application/json", "text/plain", "application/octet-stream")
        described["requestBody"] = {"content": {media: {} for media in media_types}}
    return described


def _response(operation: Operation, schema_of: dict[Any, Any]) -> dict[str, Any]:
    if operation.answer is None:
        return {"description": "done"}
    return {"description": "the answer", "content": _json(schema_of[operation.answer])}


def _dry_response(operation: Operation, schema_of: dict[Any, Any]) -> dict[str, Any]:
    if operation.dry_answer is None:
        return {}
    content = _json(schema_of[operation.dry_answer])
    return {"200": {"description": "with dry_run: nothing was changed", "content": content}}


def _headers(operation: Operation) -> dict[str, Any]:
    known = {
        "X-Eventflows-Request-Id": (True, "names this call, in the log too"),
        "ETag": (operation.entity_tag, "version to send in If-Match"),
        "X-Eventflows-As-Of-Position": (operation.as_of, "with as_of: what it was resolved to"),
        "X-Eventflows-As-Of-Time": (operation.as_of, "with as_of: the time of that position"),
    }
    return {
        name: {"description": description, "schema": {"type": "string"}}
        for name, (there, description) in known.items()
        if there
    }


def _operation_id(operation: Operation) -> str:
    """Unique: one handler may stand at several paths."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", operation.path.removeprefix("/v1")).strip("_")
    return f"{operation.name}__{words}"


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _path_schema(name)}
        for name in _PARAMETER.findall(operation.path)
    ]


def _path_schema(name: str) -> dict[str, Any]:
    if name == "position":
        return {"type": "integer", "minimum": 0}
    return {"type": "string", "format": "uuid"} if name == "algorithm_id" else {"type": "string"}


def _other_parameters(operation: Operation) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "query",
            "description": _QUERY[name],
            "required": name in operation.required_query,
            "schema": {"type": "integer", "minimum": 1} if name == "limit" else {"type": "string"},
        }
        for name in operation.query
    ]
    headers = {
        "Idempotency-Key": (operation.idempotent, "the same key again is the same command"),
        "If-Match": (operation.conditional, "ETag of an earlier answer; 412 when it has changed"),
    }
    for name, (wanted, description) in headers.items():
        if wanted:
            parameters.append(
                {
                    "name": name,
                    "in": "header",
                    "description": description,
                    "schema": {"type": "string", "maxLength": 255},
                }
            )
    return parameters


def _has_required_fields(body: type[wire.Body]) -> bool:
    return any(field.required for field in msgspec.structs.fields(body))


def _open(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": "No key is needed.",
        "security": [],
        "responses": {"200": {"description": "the answer", "content": _json(schema)}},
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
