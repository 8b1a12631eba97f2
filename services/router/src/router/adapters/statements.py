"""Named SQL statements from the `.sql` files beside this module, parsed once."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from types import MappingProxyType

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def script(file_name: str) -> str:
    """A whole file in `sql/`."""
    return (files("router.adapters") / "sql" / file_name).read_text()


@cache
def statements(file_name: str) -> MappingProxyType[str, str]:
    """`{name: statement}` of a file in `sql/`; each statement follows a line `-- name: it`."""
    parts = _NAME.split(script(file_name))[1:]
    named = {
        name: body.split(";", 1)[0].strip() for name, body in zip(*[iter(parts)] * 2, strict=True)
    }
    return MappingProxyType(named)
