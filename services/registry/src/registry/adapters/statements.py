"""Named SQL statements from the `.sql` files beside this module, parsed once."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from types import MappingProxyType

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def statements(file_name: str) -> MappingProxyType[str, str]:
    """`{name: statement}` of a file in `sql/`; each statement follows a line `-- name: it`."""
    return parsed((files("registry.adapters") / "sql" / file_name).read_text())


def parsed(text: str) -> MappingProxyType[str, str]:
    """The same from a text."""
    parts = _NAME.split(text)[1:]
    named = {
        name: body.split(";", 1)[0].strip() for name, body in zip(*[iter(parts)] * 2, strict=True)
    }
    return MappingProxyType(named)
