"""Heads of HTTP/1.1 requests: what is the same for all of a flow is made once, and checked.

A field that could end its line would let a record write fields, or a request, of its own (RFC 9112,
11.1). So nothing but visible ASCII and spaces goes into a head; who tries is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from kernel.errors import InvalidInput


def request_prefix(method: str, path: str, fields: Mapping[str, str]) -> bytes:
    """Request line and constant fields, without the empty line. Raises InvalidInput."""
    checked = [f"{method} {path} HTTP/1.1"]
    if not (method.isalpha() and path.startswith("/")) or " " in path:
        raise InvalidInput("no request can be made of this method and path")
    for name, value in fields.items():
        if not name or not name.replace("-", "a").isalnum():
            raise InvalidInput("a header field has no proper name")
        checked.append(f"{name}: {value}")
    lines = [field_line(line) for line in checked]
    return "".join(lines).encode("ascii")


def field_line(text: str) -> str:
    """The text as a line of a head. Raises InvalidInput for what is no visible ASCII."""
    if not (text.isascii() and text.isprintable()):
        raise InvalidInput("a header field may hold visible ASCII characters and spaces only")
    return f"{text}\r\n"
